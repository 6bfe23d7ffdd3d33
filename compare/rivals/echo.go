// A rival: a goroutine a client. Usage: echo PORT BUFFER MODE, where MODE is
// "copy" for io.Copy, which moves the bytes inside the kernel, or "loop" for a
// loop of Read and Write. GOMAXPROCS sets the number of threads, and Go sets
// TCP_NODELAY by itself.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: echo PORT BUFFER MODE")
	}
	size, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		if os.Args[3] == "copy" {
			go func() {
				defer client.Close()
				io.Copy(client, client)
			}()
		} else {
			go loop(client, size)
		}
	}
}

func loop(client net.Conn, size int) {
	defer client.Close()
	buffer := make([]byte, size)
	for {
		length, err := client.Read(buffer)
		if length > 0 {
			if _, err := client.Write(buffer[:length]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
