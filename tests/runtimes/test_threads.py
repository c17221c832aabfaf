"""Threads chosen from fake machines: a folder with the files that Linux would have under /sys and /proc."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from edge_agent.runtimes.worker.threads import compute_threads, threads_on_linux


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def cpus(self, siblings: list[str], **files: list[int]) -> None:
        """One logical CPU for each of `siblings`: the CPUs of its core. `files`: a number for each CPU."""
        for cpu, of_core in enumerate(siblings):
            self.write(f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list", of_core)
            for name, numbers in files.items():
                path = {"capacity": "cpu_capacity", "max_freq": "cpufreq/cpuinfo_max_freq"}[name]
                self.write(f"sys/devices/system/cpu/cpu{cpu}/{path}", str(numbers[cpu]))

    def threads(self, allowed: set[int]) -> int:
        return threads_on_linux(self.root, allowed)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_two_threads_of_a_core_count_once(machine: Machine) -> None:
    machine.cpus(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"])
    assert machine.threads(set(range(8))) == 4
    assert machine.threads({0, 4}) == 1
    assert machine.threads({0, 1, 4}) == 2


def test_a_hybrid_intel_computes_on_its_performance_cores(machine: Machine) -> None:
    machine.cpus(["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"])
    machine.write("sys/devices/cpu_core/cpus", "0-3")
    machine.write("sys/devices/cpu_atom/cpus", "4-7")
    assert machine.threads(set(range(8))) == 2
    assert machine.threads({4, 5, 6}) == 3  # pinned to the others, it uses those


def test_big_and_little_cores_are_told_by_their_capacity(machine: Machine) -> None:
    machine.cpus([str(n) for n in range(8)], capacity=[380, 380, 380, 380, 1024, 1024, 1024, 980])
    assert machine.threads(set(range(8))) == 4


def test_or_by_their_highest_frequency(machine: Machine) -> None:
    machine.cpus(
        [str(n) for n in range(6)], max_freq=[5_000_000, 5_100_000, 3_500_000, 3_500_000, 3_500_000, 3_500_000]
    )
    assert machine.threads(set(range(6))) == 2
    assert machine.threads({2, 3, 4}) == 3


def test_cores_of_one_kind_that_differ_a_little_are_all_used(machine: Machine) -> None:
    machine.cpus([str(n) for n in range(4)], max_freq=[5_000_000, 4_700_000, 4_600_000, 4_800_000])
    assert machine.threads(set(range(4))) == 4


def test_a_containers_limit_holds_whichever_group_around_it_has_it(machine: Machine) -> None:
    machine.cpus([str(n) for n in range(16)])
    machine.write("proc/self/cgroup", "0::/user.slice/daemon.service")
    machine.write("sys/fs/cgroup/user.slice/daemon.service/cpu.max", "max 100000")
    assert machine.threads(set(range(16))) == 16
    machine.write("sys/fs/cgroup/user.slice/cpu.max", "350000 100000")
    assert machine.threads(set(range(16))) == 4
    machine.write("sys/fs/cgroup/user.slice/daemon.service/cpu.max", "50000 100000")
    assert machine.threads(set(range(16))) == 1


def test_the_first_versions_limit_holds_too(machine: Machine) -> None:
    machine.cpus([str(n) for n in range(16)])
    machine.write("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n0::/")
    machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1")
    machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    assert machine.threads(set(range(16))) == 16
    # Within a container its own group is the mount's root, whatever /proc says.
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "600000")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert machine.threads(set(range(16))) == 6


@pytest.mark.parametrize("junk", ["", "max", "a b", "1 0", "-5 100000", "0-", "9" * 500, "\x00\xff"])
def test_junk_in_any_file_is_as_if_it_were_not_there(machine: Machine, junk: str) -> None:
    machine.cpus(["0", "1"])
    for path in ("cpu_core/cpus", "system/cpu/cpu0/cpu_capacity", "system/cpu/cpu0/cpufreq/cpuinfo_max_freq"):
        machine.write(f"sys/devices/{path}", junk)
    machine.write("sys/fs/cgroup/cpu.max", junk)
    for line in ("0::/", junk, "0::/../../x", ":::"):
        machine.write("proc/self/cgroup", line)
        assert machine.threads({0, 1}) == 2


def test_a_machine_that_says_nothing(machine: Machine) -> None:
    assert machine.threads({0, 1, 2}) == 3
    assert machine.threads(set()) == 1


def test_this_machine() -> None:
    assert 1 <= compute_threads() <= (psutil.cpu_count(logical=True) or 1)
