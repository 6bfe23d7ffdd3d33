/* A rival: one thread that receives a datagram and sends it back.
 * Usage: udp PORT THREADS BUFFER (THREADS has no meaning here). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The receive buffer that is asked for, in bytes. */
enum { QUEUE = 4 << 20 };

static int bind_to(unsigned short port) {
    int queue = QUEUE, server = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue) < 0 ||
        bind(server, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("udp: could not bind");
        exit(EXIT_FAILURE);
    }
    return server;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: udp PORT THREADS BUFFER\n");
        return 2;
    }
    int server = bind_to((unsigned short)atoi(words[1]));
    size_t size = strtoul(words[3], NULL, 10);
    char *buffer = malloc(size);
    if (buffer == NULL)
        return EXIT_FAILURE;
    for (;;) {
        struct sockaddr_in client;
        socklen_t length = sizeof client;
        ssize_t bytes = recvfrom(server, buffer, size, 0, (struct sockaddr *)&client, &length);
        if (bytes >= 0)
            sendto(server, buffer, (size_t)bytes, 0, (struct sockaddr *)&client, length);
    }
}
