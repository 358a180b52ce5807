"""The master must not accept more than the workers' tables hold."""

from ipvs import dest, laddr, service, worker
from stack import neigh
from tools.control import laddrs, neighbours, routes, services
from tools.daemon import plan
from tools.settings import Settings


def test_capacities_are_those_of_the_workers():
    assert services.MAX_SERVICES == service.MAX_SERVICES
    assert services.MAX_DESTS == dest.MAX_DESTS
    assert laddrs.MAX_LADDRS == laddr.MAX_LADDRS
    assert routes.MAX_ROUTES == worker.ROUTES
    assert plan.route_limits(Settings()) == {4: routes.MAX_ROUTES, 6: routes.MAX_ROUTES}
    assert neighbours.MAX_STATIC + neighbours.MAX_LEARNT <= neigh.NEIGHBOURS * 3 // 4
