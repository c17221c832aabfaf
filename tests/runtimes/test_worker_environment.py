"""What a model's process is told by its environment."""

from __future__ import annotations

from edge_agent.runtimes.worker_process import worker_environment
from edge_agent.state.master_key.passphrase import VARIABLE


def test_the_passphrase_of_the_vault_stays_here_and_the_rest_is_handed_on() -> None:
    told = worker_environment({VARIABLE: "correct horse battery", "PATH": "/bin", "OMP_WAIT_POLICY": "ACTIVE"})
    assert VARIABLE not in told
    assert (told["PATH"], told["OMP_WAIT_POLICY"], told["GOMP_SPINCOUNT"]) == ("/bin", "ACTIVE", "1000")
