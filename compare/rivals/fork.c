/* A rival: the classic echo server, a child process for every client.
 * Usage: fork PORT THREADS BUFFER (THREADS has no meaning here). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* Several children may have ended for one signal. */
static void reap(int signal) {
    (void)signal;
    int saved = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

static int serve(int client, size_t size) {
    char *buffer = malloc(size);
    if (buffer == NULL)
        return EXIT_FAILURE;
    for (;;) {
        ssize_t length = read(client, buffer, size);
        if (length <= 0)
            return length < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        for (ssize_t sent = 0; sent < length;) {
            ssize_t more = write(client, buffer + sent, (size_t)(length - sent));
            if (more < 0)
                return EXIT_FAILURE;
            sent += more;
        }
    }
}

static int listen_on(unsigned short port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 ||
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, BACKLOG) < 0) {
        perror("fork: could not listen");
        exit(EXIT_FAILURE);
    }
    return listener;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: fork PORT THREADS BUFFER\n");
        return 2;
    }
    size_t size = strtoul(words[3], NULL, 10);
    int listener = listen_on((unsigned short)atoi(words[1]));
    struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    for (;;) {
        int on = 1, client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        switch (fork()) {
        case 0:
            close(listener);
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            _exit(serve(client, size));
        case -1:
            perror("fork: could not fork");
        }
        close(client);
    }
}
