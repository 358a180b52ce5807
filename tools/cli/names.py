"""Host and service names of the system, as the tools show and accept them."""

import socket
from functools import cache


class Names:
    """Look-ups through the system's resolver and services file; None means "no such name".

    Answers are kept for the life of the object: a long listing asks for the same few addresses
    again and again, and every miss may cost a DNS time-out.
    """

    def __init__(self) -> None:
        self.address_of_host = cache(self._address_of_host)
        self.host_of_address = cache(self._host_of_address)
        self.port_of_service = cache(self._port_of_service)
        self.service_of_port = cache(self._service_of_port)

    @staticmethod
    def _address_of_host(name: str) -> str | None:
        """First IPv4 address of a host name."""
        try:
            return socket.gethostbyname(name)
        except (OSError, ValueError):
            return None

    @staticmethod
    def _host_of_address(address: str) -> str | None:
        """Host name of an address, either family."""
        try:
            return socket.gethostbyaddr(address)[0]
        except (OSError, ValueError):
            return None

    @staticmethod
    def _port_of_service(name: str, proto: str) -> int | None:
        """Port of a service name for a protocol."""
        try:
            return socket.getservbyname(name, proto)
        except (OSError, ValueError):
            return None

    @staticmethod
    def _service_of_port(port: int, proto: str) -> str | None:
        """Service name of a port for a protocol."""
        try:
            return socket.getservbyport(port, proto)
        except (OSError, OverflowError, ValueError):
            return None
