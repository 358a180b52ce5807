"""The light IP stack: Ethernet, ARP, IPv4, ICMP, routes and neighbours."""
