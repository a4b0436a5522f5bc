// Command echo is an upstream that answers with the request as it arrived, and
// counts what reached it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const address = ":8081"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "health" {
		resp, err := (&http.Client{Timeout: 3 * time.Second}).Get("http://127.0.0.1" + address + "/healthz")
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		return
	}
	server := &http.Server{Addr: address, Handler: &echo{}, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

type echo struct{ requests atomic.Int64 }

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
		return
	}
	headers := map[string]string{}
	for name := range r.Header {
		headers[name] = r.Header.Get(name)
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(map[string]any{
		"method": r.Method, "path": r.URL.RequestURI(), "headers": headers, "requests": e.requests.Add(1),
	})
}
