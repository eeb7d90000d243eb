package vmbusring_test

import (
	"context"
	"fmt"
	"log"

	"loomstore/vmbusring"
)

// A fake host answers each request with a completion.
func ExamplePair() {
	guest, host, err := vmbusring.Pair(65536, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	go func() {
		defer host.Close()
		packets := make([]vmbusring.Packet, 16)
		for {
			n, err := host.Receive(context.Background(), packets)
			if err != nil {
				return
			}
			for _, p := range packets[:n] {
				reply := vmbusring.Packet{Type: vmbusring.Completion, TransactionID: p.TransactionID, Payload: []byte("answer")}
				if _, err := host.Send(context.Background(), &reply); err != nil {
					return
				}
			}
		}
	}()

	ctx := context.Background()
	var requests vmbusring.Requests[string]
	id, _ := requests.Begin("the first request")
	question := vmbusring.Packet{Type: vmbusring.InBand, CompletionRequested: true, TransactionID: id, Payload: []byte("question")}
	if _, err := guest.Send(ctx, &question); err != nil {
		log.Fatal(err)
	}
	reply := make([]vmbusring.Packet, 1)
	if _, err := guest.Receive(ctx, reply); err != nil {
		log.Fatal(err)
	}
	request, err := requests.Complete(&reply[0])
	fmt.Printf("%s: %.6s %v\n", request, reply[0].Payload, err)
	// Output: the first request: answer <nil>
}

// A pipe is a net.Conn.
func ExampleNewBytePipe() {
	guest, host, err := vmbusring.Pair(65536, nil)
	if err != nil {
		log.Fatal(err)
	}
	a, b := vmbusring.NewBytePipe(guest), vmbusring.NewBytePipe(host)
	defer a.Close()
	defer b.Close()
	fmt.Fprint(a, "hello")
	a.CloseWrite()
	buf := make([]byte, 16)
	n, err := b.Read(buf)
	fmt.Printf("%s %v\n", buf[:n], err)
	n, err = b.Read(buf)
	fmt.Println(n, err)
	// Output:
	// hello <nil>
	// 0 EOF
}
