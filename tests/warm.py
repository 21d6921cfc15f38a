"""A command in a process of its own that has its libraries already: a fork of one that waits.

For what a command says and writes. Importing JAX takes seconds, most of a short command's time; how
it starts, and what it imports, is tested with new processes.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["jaxbpc.evaluate", "transformers.tokenization_utils_fast"])


def run(module, *arguments, cwd=None, env=None):
    """`python -m module arguments`; of JAX's settings in `env` only XLA_FLAGS is seen."""
    with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
        env = dict(os.environ if env is None else env)
        files = (out.name, err.name)
        how = (module, arguments, str(cwd or os.getcwd()), env, files)
        process = _PROCESSES.Process(target=_work, args=how)
        process.start()
        process.join()
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.CompletedProcess(command, process.exitcode, out.read(), err.read())


def _work(module, arguments, cwd, env, files):
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
