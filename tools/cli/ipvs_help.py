"""Texts ipvsadm prints about itself."""

VERSION = "ipvsadm v1.27 2008/5/15 (compiled with popt and IPVS v1.9.2)\n"

HELP = """\
Usage: ipvsadm COMMAND [OPTION]...      (the command comes first)

SERVICE is one of -t, -u, --sctp-service, -q, -1 with HOST[:PORT] ([IPV6]:PORT), -f MARK, -H MATCH.

Virtual services:
  -A, --add-service SERVICE         add; options: -s -p -M -o -j --hash-target --conn-timeout
                                    --expire-quiescent --quic --proxy-protocol --dest-check
  -E, --edit-service SERVICE        change; the same options
  -D, --delete-service SERVICE      delete, with its real servers and local addresses
  -C, --clear                       delete everything
  -Z, --zero [SERVICE]              set the counters of one service or of all to zero
Real servers:
  -a, --add-server SERVICE -r HOST:PORT     add; options: -b -m -g -i -J -w -x -y
  -e, --edit-server SERVICE -r HOST:PORT    replace all attributes
  -d, --delete-server SERVICE -r HOST:PORT  delete
Local addresses (the source addresses of fullnat):
  -P, --add-laddr SERVICE -z ADDRESS -F DEVICE     add, also to the device
  -Q, --del-laddr SERVICE -z ADDRESS -F DEVICE     delete, also from the device
  -G, --get-laddr [SERVICE]                        list
Access lists; ENTRY is an address or ipset:NAME:
  -U, --add-blklst SERVICE -k ENTRY         -V, --del-blklst SERVICE -k ENTRY
  -O, --add-whtlst SERVICE -2 ENTRY         -Y, --del-whtlst SERVICE -2 ENTRY
  -B, --get-blklst [SERVICE]                -W, --get-whtlst [SERVICE]
Showing, saving:
  -L, -l, --list [SERVICE]          list services; options: -n -X --stats --rate --thresholds
                                    --persistent-conn --nosort --cpu
  -L -c [--sockpair PAIR]           list connections; PAIR is proto:ip:port:vip:vport,
                                    [ip] and [vip] in brackets for IPv6
      --set TCP TCPFIN UDP          seconds idle connections live; 0: as it is
  -L --timeout                      list these
  -S, --save [-n]                   write the rules as command lines
  -R, --restore                     read such lines from standard input
  -h, --help        -v, --version

Options of services:
  -t, --tcp-service HOST:PORT       -u, --udp-service HOST:PORT     --sctp-service HOST:PORT
  -q, --icmp-service HOST:PORT      -1, --icmpv6-service HOST:PORT
  -f, --fwmark-service MARK         -6, --ipv6 (after -f)
  -H, --match MATCH                 proto=,af=,src-range=,dst-range=,iif=,oif= (comma separated)
  -s, --scheduler NAME              rr, wrr, wlc (default), conhash, mh, fo
      --hash-target sip|qid         what conhash hashes
      --sched-flags FLAG[,FLAG]     mh-port (hash the port too), mh-fallback (never drop)
      --slow-start SECONDS          new servers get their share step by step; 0 = at once
  -p, --persistent [SECONDS]        one client stays with one real server; default 360
  -M, --netmask MASK                how much of the client address persistence looks at
  -o, --ops                         every UDP packet is scheduled on its own
  -j, --synproxy enable|disable     answer TCP handshakes for the real servers
      --conn-timeout SECONDS        lifetime of idle established connections; 0 = protocol default
      --expire-quiescent            drop connections to real servers that are taken out
      --quic                        QUIC: connection ids name the real server
      --quic-lb LENGTH[,CONFIG]     ... as in QUIC-LB: bytes of server ids, configuration 0-6
      --proxy-protocol VERSION      disable, v1, v2, v1-insecure, v2-insecure
      --dest-check CHECK            disable, default, tcp, udp, sctp, ping, or
                                    DOWN,UP,WAITs,MIN-MAXs or DOWN,WAITs (may be repeated)
Options of real servers:
  -r, --real-server HOST:PORT
  -g, --gatewaying (default)  -i, --ipip  -m, --masquerading  -b, --fullnat  -J, --snat
  -w, --weight NUMBER               0 to 65535, default 1
  -x, --u-threshold NUMBER          no new connections above this many
  -y, --l-threshold NUMBER          until they fall below this many
      --server-id HEX|none          its id in QUIC-LB connection ids (-e without: as it was)
Options of local addresses and access lists:
  -z, --laddr ADDRESS               -F, --ifname DEVICE
  -k, --blklst ENTRY                -2, --whtlst ENTRY
Options of listings:
  -n, --numeric                     no host or service names
  -X, --exact                       counters in full
  -c, --connection                  connections instead of services
      --stats, --rate               counters, or their growth a second
      --thresholds                  limits of the real servers
      --persistent-conn             persistent connections; with -c: only these
      --cpu INDEX                   the state of one worker; 0 = all together
      --nosort, --sort

      --name NAME                   talk to the dpvs instance of this name (also: DPVS_NAME)
"""
