/* The floor: the least netlink that gives one container eth0 on a bridge.
 *
 *   floor BRIDGE HOSTIF NETNS_PATH ADDRESS PREFIX_LENGTH GATEWAY
 *
 * One RTM_NEWLINK (the host's end enslaved and up, its peer eth0 born in the container's
 * namespace), then lo up, eth0 up, address and default route inside. A bridge that is not there
 * is made first, with the gateway's address. No lease, no record, no firewall. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern unsigned if_nametoindex(const char *);

/* The message that is being put together. */
static char buf[8192];
static struct nlmsghdr *const h = (void *)buf;

static void fail(const char *what, int error) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
  exit(1);
}

static void start(int type, int flags, const void *header, size_t length) {
  static int seq;
  memset(buf, 0, sizeof buf);
  h->nlmsg_type = type;
  h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
  h->nlmsg_seq = ++seq;
  h->nlmsg_len = NLMSG_LENGTH(length);
  memcpy(NLMSG_DATA(h), header, length);
}

static void *extend(size_t length) {
  void *at = buf + NLMSG_ALIGN(h->nlmsg_len);
  h->nlmsg_len = NLMSG_ALIGN(h->nlmsg_len) + RTA_ALIGN(length);
  return at;
}

static struct rtattr *attr(int type, const void *data, size_t length) {
  struct rtattr *a = extend(RTA_LENGTH(length));
  a->rta_type = type;
  a->rta_len = RTA_LENGTH(length);
  if (data) memcpy(RTA_DATA(a), data, length);
  return a;
}

static void name(int type, const char *text) { attr(type, text, strlen(text) + 1); }
static struct rtattr *nest(int type) { return attr(type | NLA_F_NESTED, 0, 0); }
static void end(struct rtattr *a) { a->rta_len = buf + h->nlmsg_len - (char *)a; }

/* Sends the message; what comes back is in `answer`. */
static char answer[16384];
static struct nlmsghdr *talk(int s, const char *what) {
  struct nlmsghdr *m = (void *)answer;
  if (send(s, buf, h->nlmsg_len, 0) < 0 || recv(s, answer, sizeof answer, 0) < 0) fail(what, errno);
  if (m->nlmsg_type == NLMSG_ERROR) {
    struct nlmsgerr *e = NLMSG_DATA(m);
    if (e->error) fail(what, -e->error);
  }
  return m;
}

static void up(int s, const char *link) {
  struct ifinfomsg i = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  start(RTM_SETLINK, 0, &i, sizeof i);
  name(IFLA_IFNAME, link);
  talk(s, link);
}

static void address(int s, int index, const char *text, int prefix) {
  struct in_addr ip;
  struct ifaddrmsg m = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
  inet_pton(AF_INET, text, &ip);
  start(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof m);
  attr(IFA_LOCAL, &ip, 4);
  attr(IFA_ADDRESS, &ip, 4);
  talk(s, "address");
}

static int bridge(int s, const char *link, const char *gateway, int prefix) {
  struct ifinfomsg i = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  start(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof i);
  name(IFLA_IFNAME, link);
  struct rtattr *info = nest(IFLA_LINKINFO);
  name(IFLA_INFO_KIND, "bridge");
  end(info);
  talk(s, "bridge");
  int index = if_nametoindex(link);
  address(s, index, gateway, prefix);
  return index;
}

static void veth(int s, const char *host, int master, int ns) {
  struct ifinfomsg i = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  start(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof i);
  name(IFLA_IFNAME, host);
  attr(IFLA_MASTER, &master, 4);
  struct rtattr *info = nest(IFLA_LINKINFO);
  name(IFLA_INFO_KIND, "veth");
  struct rtattr *data = nest(IFLA_INFO_DATA), *peer = nest(VETH_INFO_PEER);
  memset(extend(sizeof i), 0, sizeof i);
  name(IFLA_IFNAME, "eth0");
  attr(IFLA_NET_NS_FD, &ns, 4);
  end(peer);
  end(data);
  end(info);
  talk(s, "veth");
}

static int index_of(int s, const char *link) {
  struct ifinfomsg i = {0};
  start(RTM_GETLINK, 0, &i, sizeof i);
  h->nlmsg_flags = NLM_F_REQUEST;
  name(IFLA_IFNAME, link);
  return ((struct ifinfomsg *)NLMSG_DATA(talk(s, link)))->ifi_index;
}

static void route(int s, int index, const char *gateway) {
  struct in_addr ip;
  struct rtmsg m = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                    .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
  inet_pton(AF_INET, gateway, &ip);
  start(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof m);
  attr(RTA_GATEWAY, &ip, 4);
  attr(RTA_OIF, &index, 4);
  talk(s, "route");
}

int main(int count, char **v) {
  if (count != 7) fail("usage", EINVAL);
  int prefix = atoi(v[5]);
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), ns = open(v[3], O_RDONLY | O_CLOEXEC);
  int outside = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (ns < 0 || setns(ns, CLONE_NEWNET)) fail(v[3], errno);
  int inside = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (setns(home, CLONE_NEWNET)) fail("setns", errno);

  int master = if_nametoindex(v[1]);
  if (!master) master = bridge(outside, v[1], v[6], prefix);
  veth(outside, v[2], master, ns);
  up(inside, "lo");
  up(inside, "eth0");
  int index = index_of(inside, "eth0");
  address(inside, index, v[4], prefix);
  route(inside, index, v[6]);
  return 0;
}
