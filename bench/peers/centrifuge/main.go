// Peer: a server on the library centrifuge, JSON protocol, for one busy channel. It obeys the same orders on
// standard input as every server of this benchmark (see src/fanout/host.rs).
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

const (
	channel = "bench"
	// Shortest pause between two looks at what is due.
	tick = time.Millisecond
	// A publisher this far behind stops: the server is overloaded and the backlog would only grow.
	giveUp = time.Second
)

var (
	payload    = flag.Int("payload", 150, "size of an event in bytes")
	writeDelay = flag.Duration("write-delay", 0, "how long a connection's writer collects messages before a write")
	maxInFrame = flag.Int("max-in-frame", 0, "most messages in one frame: 0 for the library's default, -1 for no limit")
	gcPercent  = flag.Int("gc-percent", 100, "Go's garbage collection target")
)

func main() {
	flag.Parse()
	debug.SetGCPercent(*gcPercent)
	node := newNode()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ws", authenticated(centrifuge.NewWebsocketHandler(node, websocketConfig())))
	go func() { log.Fatal(http.Serve(listener, nil)) }()
	fmt.Println("ready", listener.Addr(), "/ws")
	serveOrders(node)
}

func newNode() *centrifuge.Node {
	// The queue is widened so that a burst is measured as delay, not as a disconnect.
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			WriteDelay:         *writeDelay,
			MaxMessagesInFrame: *maxInFrame,
			ReplyWithoutQueue:  true,
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	return node
}

func websocketConfig() centrifuge.WebsocketConfig {
	return centrifuge.WebsocketConfig{
		ReadBufferSize:     512,
		UseWriteBufferPool: true,
		WriteTimeout:       10 * time.Second,
		CheckOrigin:        func(*http.Request) bool { return true },
		// A measurement is shorter than any ping interval; none disturbs it.
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
	}
}

func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := centrifuge.SetCredentials(r.Context(), &centrifuge.Credentials{UserID: ""})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func serveOrders(node *centrifuge.Node) {
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var rate, count int64
		if _, err := fmt.Sscanf(orders.Text(), "publish %d %d", &rate, &count); err == nil {
			fmt.Println("published", publishPaced(node, rate, count))
			continue
		}
		var pattern string
		var topics, seconds int64
		if _, err := fmt.Sscanf(orders.Text(), "topics %s %d %d %d", &pattern, &topics, &rate, &seconds); err == nil {
			fmt.Println("published", publishToTopics(node, pattern, topics, rate, seconds))
			continue
		}
		debug.FreeOSMemory()
		fmt.Println("settled")
	}
}

// publishPaced stamps events with the time they were due, so that a publisher held up by its server counts against it.
func publishPaced(node *centrifuge.Node, rate, count int64) int64 {
	start := time.Now()
	for number := int64(0); number < count; {
		due := time.Duration(number * int64(time.Second) / rate)
		elapsed := time.Since(start)
		if elapsed < due {
			time.Sleep(max(due-elapsed, tick))
			continue
		}
		if elapsed-due > giveUp {
			return number
		}
		if _, err := node.Publish(channel, event(start.Add(due), number)); err != nil {
			log.Fatal(err)
		}
		number++
	}
	return count
}

func event(due time.Time, number int64) []byte {
	fields := fmt.Sprintf(`{"t":%d,"n":%d,"type":"trade","exchange":"binance","symbol":"BTC/USDT","price":61837.63,"amount":0.02,"pad":"`,
		due.UnixNano(), number)
	padding := max(*payload-len(fields)-2, 0)
	return []byte(fields + strings.Repeat("x", padding) + `"}`)
}
