"""Virtual services, real servers, connections, forwarding: what makes it a load balancer."""
