"""Networks and running balancers for the tests in labs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools.lab import Lab
from tools.lab_balancer import Balancer, setup_commands
from tools.lab_two_arm import TwoArm


@pytest.fixture
def two_arm(lab: Lab) -> TwoArm:
    """The standard network with client and three real servers, no balancer running yet."""
    return TwoArm(lab)


@pytest.fixture
def balanced(two_arm: TwoArm) -> Callable[..., Balancer]:
    """A function (mode="fullnat", workers=1) that starts a balancer in the standard network.

    Ports, routes and one TCP service on VIP:80 are set up; client and servers are at
    `balancer.network`.
    """

    def start(mode: str = "fullnat", workers: int = 1) -> Balancer:
        balancer = Balancer(two_arm, workers=workers)
        two_arm.answer_by(mode)
        balancer.start()
        for line in setup_commands(mode, workers, list(two_arm.servers)):
            balancer.operate(line)
        return balancer

    return start
