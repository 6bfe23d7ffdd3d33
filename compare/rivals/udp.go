// A rival: a goroutine for each thread, which receives a datagram and sends it
// back. Usage: udp PORT BUFFER. GOMAXPROCS sets the number of threads.
package main

import (
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
)

// The receive buffer that is asked for, in bytes.
const queue = 4 << 20

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: udp PORT BUFFER")
	}
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	size, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.SetReadBuffer(queue); err != nil {
		log.Fatal(err)
	}
	for more := runtime.GOMAXPROCS(0) - 1; more > 0; more-- {
		go serve(server, size)
	}
	serve(server, size)
}

func serve(server *net.UDPConn, size int) {
	buffer := make([]byte, size)
	for {
		length, client, err := server.ReadFromUDPAddrPort(buffer)
		if err == nil {
			// One that can't be answered is no reason to stop.
			server.WriteToUDPAddrPort(buffer[:length], client)
		}
	}
}
