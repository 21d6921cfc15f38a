"""The flags by which the processes of one job find each other, and the start that they ask for."""

from absl import flags

_DISTRIBUTED = flags.DEFINE_enum("distributed", "auto", ["auto", "on", "off"], "join a cluster")
_COORDINATOR = flags.DEFINE_string("coordinator_address", None, "host:port of process 0")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "this process, from 0", lower_bound=0)


def start() -> None:
    """Joins the job that the flags describe, see `distributed.start`. Imports JAX."""
    from jaxbpc.parallel import distributed

    distributed.start(
        _DISTRIBUTED.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    )
