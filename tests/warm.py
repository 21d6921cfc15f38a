"""Runs commands in forks of a server process that has already imported JAX.

Importing JAX takes seconds, most of a short command's time. Tests of how a command starts, or of
what it imports, use new processes instead.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.reduction
import os
import runpy
import subprocess
import sys
import time

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "jaxbpc.evaluation.loop",
        "jaxbpc.analysis.compare",
        "jaxbpc.fit.regression",
        "jaxbpc.checkpoint.export_orbax",
        "matplotlib.figure",
        "transformers.tokenization_utils_fast",
    ]
)


class Started:
    """`python -m module arguments`, started; as `subprocess.Popen` with pipes of text.

    Args:
      env: of JAX's settings in it only XLA_FLAGS is seen.
    """

    def __init__(self, module, *arguments, cwd=None, env=None):
        self.args = [sys.executable, "-m", module, *map(str, arguments)]
        pipes = [os.pipe() for _ in range(2)]
        self.stdout, self.stderr = (open(reader) for reader, _ in pipes)  # noqa: SIM115
        writers = [multiprocessing.reduction.DupFd(writer) for _, writer in pipes]
        env = dict(os.environ if env is None else env)
        how = (module, self.args[3:], str(cwd or os.getcwd()), env, writers)
        self._process = _PROCESSES.Process(target=_work, args=how)
        self._process.start()
        for _, writer in pipes:
            os.close(writer)
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """What it wrote to stdout and stderr until it ended."""
        end = None if timeout is None else time.monotonic() + timeout
        pool = concurrent.futures.ThreadPoolExecutor(2)
        texts = [pool.submit(file.read) for file in (self.stdout, self.stderr)]
        pool.shutdown(wait=False)
        self.wait(timeout)
        return tuple(text.result(end and max(end - time.monotonic(), 1)) for text in texts)


def new(module, *arguments, env=None):
    """As `Started`, but a new process: with nothing imported, no setting read."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)


def run(module, *arguments, cwd=None, env=None):
    """Runs it to its end; of JAX's settings in `env` only XLA_FLAGS is seen."""
    process = Started(module, *arguments, cwd=cwd, env=env)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _work(module, arguments, cwd, env, writers):
    for number, writer in enumerate(writers, start=1):
        descriptor = writer.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The server's streams were opened on files, which can seek; pipes cannot.
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
