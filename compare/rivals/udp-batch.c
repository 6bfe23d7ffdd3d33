/* A rival: one thread that receives up to 64 datagrams at once and sends them back at once,
 * each from the address that it was sent to.
 * Usage: udp-batch PORT THREADS BUFFER (THREADS has no meaning here). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    /* Datagrams a call. */
    BATCH = 64,
    /* The receive buffer that is asked for, in bytes. */
    QUEUE = 4 << 20,
    CONTROL = CMSG_SPACE(sizeof(struct in_pktinfo)),
};

/* The place of a datagram in a batch: headers for both ways. */
struct slot {
    struct sockaddr_in client;
    struct iovec vector;
    _Alignas(struct cmsghdr) char control[CONTROL];
    char *bytes;
};

static struct slot slots[BATCH];
static struct mmsghdr headers[BATCH];

static int bind_to(unsigned short port) {
    int on = 1, queue = QUEUE, server = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue) < 0 ||
        setsockopt(server, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0 ||
        bind(server, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("udp-batch: could not bind");
        exit(EXIT_FAILURE);
    }
    return server;
}

static void prepare(int first, int end, size_t size) {
    for (int at = first; at < end; at++) {
        struct slot *slot = &slots[at];
        slot->vector = (struct iovec){.iov_base = slot->bytes, .iov_len = size};
        headers[at].msg_hdr = (struct msghdr){
            .msg_name = &slot->client,
            .msg_namelen = sizeof slot->client,
            .msg_iov = &slot->vector,
            .msg_iovlen = 1,
            .msg_control = slot->control,
            .msg_controllen = CONTROL,
        };
    }
}

/* What was received becomes what is sent: the same bytes, from the address asked. */
static void turn_round(struct mmsghdr *header) {
    struct cmsghdr *message = CMSG_FIRSTHDR(&header->msg_hdr);
    header->msg_hdr.msg_iov->iov_len = header->msg_len;
    if (message != NULL && message->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(message);
        info->ipi_spec_dst = info->ipi_addr;
        info->ipi_ifindex = 0;
    }
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: udp-batch PORT THREADS BUFFER\n");
        return 2;
    }
    int server = bind_to((unsigned short)atoi(words[1]));
    size_t size = strtoul(words[3], NULL, 10);
    for (int at = 0; at < BATCH; at++) {
        slots[at].bytes = malloc(size);
        if (slots[at].bytes == NULL)
            return EXIT_FAILURE;
    }
    prepare(0, BATCH, size);
    for (;;) {
        int received = recvmmsg(server, headers, BATCH, MSG_WAITFORONE, NULL);
        for (int at = 0; at < received; at++)
            turn_round(&headers[at]);
        for (int next = 0; next < received;) {
            int sent = sendmmsg(server, headers + next, (unsigned)(received - next), 0);
            next += sent > 0 ? sent : 1;
        }
        /* Only those that were used are to be set up again. */
        if (received > 0)
            prepare(0, received, size);
    }
}
