"""Changes of services, real servers and local addresses: validated, then applied, then published.

Every change of a service publishes the whole service again: workers replace it in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import all_ports, support
from . import replication as stream
from .devices import DeviceTable
from .errors import Code, ControlError
from .ids import IdPool
from .inettypes import Address, is_host_address
from .laddrs import LocalPools
from .matches import MAX_MATCHES, MatchKey
from .quic_lb import check_server_id
from .schedulers import SchedulerControl
from .services import (
    MAX_DESTS,
    MAX_DESTS_PER_SERVICE,
    MAX_SERVICES,
    AnyKey,
    Dest,
    DestKey,
    DestOptions,
    LaddrRef,
    Service,
    ServiceOptions,
    ServiceTable,
)
from .traffic import Traffic


class IpvsControl:
    """The load-balancer side of the authoritative state."""

    def __init__(
        self,
        publisher: stream.Publisher,
        pools: LocalPools,
        traffic: Traffic,
        devices: DeviceTable,
        clock: Callable[[], float],
        schedulers: SchedulerControl,
    ) -> None:
        self._schedulers = schedulers
        self._clock = clock
        self.services = ServiceTable()
        self._devices = devices
        self._added = 0
        self.service_ids: IdPool[AnyKey] = IdPool("services", MAX_SERVICES, clock)
        self.dest_ids: IdPool[tuple[AnyKey, DestKey]] = IdPool(
            "real servers", MAX_DESTS, clock, traffic.dest_is_idle
        )
        self._publisher = publisher
        self._pools = pools
        self._traffic = traffic

    def _record(self, service: Service) -> stream.Record:
        return stream.service_set(service, self._pools, self._devices)

    def _publish(self, service: Service) -> None:
        self._publisher.publish(*self._record(service))

    def add_service(self, key: AnyKey, options: ServiceOptions) -> None:
        """Add a service without real servers.

        INVAL for an empty key, NOTEXIST for an unknown scheduler or device, EXIST for a duplicate,
        RESOURCE for one match service too many.
        """
        if isinstance(key, MatchKey):
            self._check_match(key)
        elif key.addr.is_unspecified:
            what = "is empty" if key.port == 0 else f"has the address {key.addr}"
            raise ControlError(Code.INVAL, f"the service key {what}")
        elif not is_host_address(key.addr):
            raise ControlError(Code.INVAL, f"{key.addr} is not a unicast address")
        self._check_options(key, options)
        self.services.check_absent(key)
        self._added += 1
        service = Service(self.service_ids.acquire(key), key, options, order=self._added)
        self.services.add(service)
        self._traffic.forget_past(service.id)
        self._publish(service)

    def _check_match(self, key: MatchKey) -> None:
        for name in (key.iif, key.oif):
            if name is not None:
                self._devices.named(name, Code.NOTEXIST)
        if sum(isinstance(other.key, MatchKey) for other in self.services) >= MAX_MATCHES:
            raise ControlError(
                Code.RESOURCE, f"there cannot be more than {MAX_MATCHES} match services"
            )

    def _check_options(self, key: AnyKey, options: ServiceOptions) -> None:
        known = [*support.SCHEDULERS, *self._schedulers.names]
        if options.sched not in known:
            raise ControlError(
                Code.NOTEXIST,
                f"there is no scheduler '{options.sched}' (there are: {', '.join(known)})",
            )
        self._check_hashing(key, options)
        self._check_netmask(key, options)
        all_ports.check_service(key, options.persistent, self._pools)
        if options.quic_lb and not options.quic:
            raise ControlError(Code.INVAL, "quic-lb is only for services with quic")
        if options.ops and key.proto != "udp":
            raise ControlError(Code.INVAL, "one-packet scheduling is only for UDP services")
        if options.quic and key.proto != "udp":
            raise ControlError(Code.INVAL, "quic is only for UDP services")
        if options.synproxy and key.proto != "tcp":
            raise ControlError(Code.INVAL, "synproxy is only for TCP services")
        if options.proxy_protocol.startswith("v1") and key.proto != "tcp":
            raise ControlError(
                Code.INVAL, "proxy protocol v1 is only for TCP services; UDP services can have v2"
            )
        support.service(key, options)

    def _check_netmask(self, key: AnyKey, options: ServiceOptions) -> None:
        """A mask is written as it is usual in the service's family."""
        if options.netmask is not None and options.netmask.isdigit() != (key.addr.version == 6):
            usual = "a mask such as 255.255.255.0", "a prefix length such as 64"
            raise ControlError(
                Code.INVAL,
                f"netmask {options.netmask}: for an IPv{key.addr.version} service it is "
                f"{usual[key.addr.version == 6]}",
            )

    def _check_hashing(self, key: AnyKey, options: ServiceOptions) -> None:
        """Options that belong to one scheduler only, as the commands say it too."""
        if options.hash_target and options.sched != "conhash":
            raise ControlError(Code.INVAL, "hash target can only be set when schedule is conhash")
        if options.hash_target == "qid" and key.proto != "udp":
            raise ControlError(Code.INVAL, "qid hash can only be set in udp service")
        for word in options.sched_flags:
            if word not in ("mh-port", "mh-fallback") or options.sched != "mh":
                raise ControlError(Code.INVAL, f"scheduler {options.sched} has no flag '{word}'")

    def edit_service(self, key: AnyKey, options: ServiceOptions) -> None:
        """Give a service other options; INVAL when there is no such service."""
        service = self.services.find(key, Code.INVAL)
        self._check_options(key, options)
        for dest in service.dests.values():
            check_server_id(service, options.quic_lb, dest.key, dest.options.server_id)
        if options != service.options:
            service.options = options
            self._publish(service)

    def delete_service(self, key: AnyKey) -> None:
        """Remove a service with its real servers; INVAL when there is none."""
        service = self.services.find(key, Code.INVAL)
        self.services.remove(service)
        self._publisher.publish(*stream.service_del(service))
        for dest in service.dests.values():
            self._retire(service, dest)
        self.service_ids.release(key, service.id)

    def flush(self) -> None:
        """Remove all services."""
        for service in self.services:
            self.delete_service(service.key)

    def zero(self, key: AnyKey | None) -> None:
        """Set the statistics of a service, or of all of them, to zero; INVAL without it."""
        chosen = self.services if key is None else [self.services.find(key, Code.INVAL)]
        for service in chosen:
            self._traffic.forget_past(service.id)
            for dest in service.dests.values():
                self._traffic.zero_dest(dest.id)

    def add_dest(self, svc: AnyKey, key: DestKey, options: DestOptions) -> None:
        """Add a real server.

        INVAL without the service or for a wrong address, EXIST for a duplicate, NOTSUPP for
        thresholds that contradict each other, RESOURCE when there are too many.
        """
        service = self.services.find(svc, Code.INVAL)
        if not is_host_address(key.addr):
            raise ControlError(Code.INVAL, f"{key.addr} cannot be a real server's address")
        all_ports.check_dest(svc, key)
        self._check_mode(svc, key, options)
        self._check_dest(svc, key, options, Code.NOTSUPP)
        check_server_id(service, service.options.quic_lb, key, options.server_id)
        if key in service.dests:
            raise ControlError(Code.EXIST, f"{key} is already a real server of {svc}")
        if len(service.dests) >= MAX_DESTS_PER_SERVICE:
            raise ControlError(
                Code.RESOURCE, f"{svc} cannot have more than {MAX_DESTS_PER_SERVICE} real servers"
            )
        number = self.dest_ids.acquire((svc, key))
        self._traffic.new_dest(number)
        service.dests[key] = Dest(number, key, options, since=self._clock())
        self._publish(service)

    def _check_mode(self, svc: AnyKey, key: DestKey, options: DestOptions) -> None:
        """SNAT goes with match services: outside addresses are addresses of ours with ports."""
        match = isinstance(svc, MatchKey)
        if match != (options.mode == "snat"):
            why = "only match services have" if options.mode == "snat" else "a match service has no"
            raise ControlError(Code.NOTSUPP, f"{why} real servers of mode {options.mode}")
        if match and self._pools.of(key.addr) is None:
            raise ControlError(
                Code.NOTEXIST, f"{key.addr} is not configured on a device with sapool"
            )

    def _check_dest(
        self, svc: AnyKey, key: DestKey, options: DestOptions, thresholds: Code
    ) -> None:
        support.dest(svc.addr, key.addr, options)
        if options.u_thresh and options.l_thresh > options.u_thresh:
            raise ControlError(
                thresholds,
                f"lower threshold {options.l_thresh} exceeds upper threshold {options.u_thresh}",
            )

    def edit_dest(
        self, svc: AnyKey, key: DestKey, options: DestOptions, inhibited: bool = False
    ) -> None:
        """Give a real server other options, and take it out of scheduling or back in.

        INVAL without the service or for contradicting thresholds, NOTEXIST without the server.
        """
        service = self.services.find(svc, Code.INVAL)
        dest = service.dest(key)
        self._check_mode(svc, key, options)
        self._check_dest(svc, key, options, Code.INVAL)
        check_server_id(service, service.options.quic_lb, key, options.server_id)
        changed = replace(dest, options=options, inhibited=inhibited)
        if not dest.record["weight"] and changed.record["weight"]:
            # Back among those that get connections: it starts slowly again.
            changed = replace(changed, since=self._clock())
        if changed != dest:
            service.dests[key] = changed
            self._publish(service)

    def delete_dest(self, svc: AnyKey, key: DestKey) -> None:
        """Remove a real server; INVAL without the service, NOTEXIST without it."""
        service = self.services.find(svc, Code.INVAL)
        dest = service.dest(key)
        del service.dests[key]
        self._publish(service)
        self._retire(service, dest)

    def _retire(self, service: Service, dest: Dest) -> None:
        self.dest_ids.release((service.key, dest.key), dest.id)
        self._traffic.leave(service.id, dest.id)

    def add_laddr(self, svc: AnyKey, ref: LaddrRef) -> None:
        """Let a service use a local address. NOSERV without the service, EXIST for a duplicate,
        NOTEXIST when the device does not have the address with sapool, INVAL for an IPv6 address
        and an IPv4 service (the reverse serves NAT64)."""
        service = self.services.find(svc, Code.NOSERV)
        if ref.addr.version > svc.addr.version:
            raise ControlError(
                Code.INVAL, f"{svc} is an IPv4 service and cannot use the local address {ref.addr}"
            )
        if any(other.addr == ref.addr for other in service.laddrs):
            raise ControlError(Code.EXIST, f"{ref.addr} is already a local address of {svc}")
        if self._pools.usable(ref.addr, ref.dev) is None:
            raise ControlError(
                Code.NOTEXIST, f"{ref.addr} is not configured with sapool on the device"
            )
        service.laddrs.append(ref)
        self._publish(service)

    def delete_laddr(self, svc: AnyKey, ref: LaddrRef) -> None:
        """Take a local address from a service; NOSERV without the service, NOTEXIST without it."""
        service = self.services.find(svc, Code.NOSERV)
        if ref not in service.laddrs:
            raise ControlError(
                Code.NOTEXIST, f"{ref.addr} is not a local address of {svc} on the device"
            )
        service.laddrs.remove(ref)
        self._publish(service)

    def check_pool(self, address: Address) -> None:
        """INVAL when an address cannot be a local address because of a service."""
        all_ports.check_pool(address, self.services)

    def pool_changed(self, address: Address) -> None:
        """A local address became usable or unusable: tell workers the services that list it."""
        for service in self.services:
            outside = (key.addr for key in service.dests if isinstance(service.key, MatchKey))
            if any(ref.addr == address for ref in service.laddrs) or address in outside:
                self._publish(service)

    def snapshot(self) -> list[stream.Record]:
        """Records that recreate the services."""
        return [
            stream.service_set(service, self._pools, self._devices) for service in self.services
        ]
