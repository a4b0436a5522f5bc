package harness

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// AdminToken is the one of every replica of a fleet.
const AdminToken = "an-admin-token-of-more-than-32-characters"

// Fleet are replicas that share a store, with one key and one admin token.
type Fleet struct {
	Store    *Redis
	Replicas []*Replica

	files   string // $FILES
	options FleetOptions
}

// Replica is one of a fleet.
type Replica struct {
	*Service

	Receiver string // where it takes events and logout tokens
	Link     *Link  // its own way to the store

	binary, config string
}

// FleetOptions say what kind of fleet. The zero value has no store.
type FleetOptions struct {
	Replicas int
	Store    *Redis // nil: each for itself
	Through  string // the address that leads to the store, instead of a link for each
	Release  bool   // without the race detector
	Files    map[string]string
	// Config is that of each, in which $GRPC, $ADMIN and $RECEIVER are replaced by its
	// addresses, $STORE by the URL of the store, and $FILES by a folder with the files
	// key and admin, and those of Files.
	Config string
}

// StartFleet starts all of them, and waits until they are ready.
func StartFleet(t testing.TB, o FleetOptions) *Fleet {
	t.Helper()
	f := &Fleet{Store: o.Store, files: t.TempDir(), options: o}
	f.Put(t, "key", "a key of the store that is longer than 32 bytes")
	f.Put(t, "admin", AdminToken)
	for name, content := range o.Files {
		f.Put(t, name, content)
	}
	for range o.Replicas {
		f.Add(t)
	}
	for _, r := range f.Replicas {
		r.Ready(t)
	}
	return f
}

// Add starts one more, without waiting until it is ready.
func (f *Fleet) Add(t testing.TB) *Replica {
	t.Helper()
	o := f.options
	r := &Replica{Receiver: Free(t)}
	store := o.Through
	if o.Store != nil && store == "" {
		r.Link = NewLink(t, o.Store.Address)
		store = r.Link.Address
	}
	places := strings.NewReplacer("$RECEIVER", r.Receiver, "$STORE", "redis://"+store, "$FILES", f.files)
	r.config = places.Replace(o.Config)
	if o.Release {
		binary, err := buildRelease()
		if err != nil {
			t.Fatal(err)
		}
		r.binary = binary
	} else {
		r.binary = Binary(t)
	}
	r.Service = serve(t, r.binary, nil, Free(t), Free(t), r.config)
	f.Replicas = append(f.Replicas, r)
	return r
}

// Put writes a file that a configuration can name as $FILES/name.
func (f *Fleet) Put(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.files, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// GRPC are the addresses of all replicas.
func (f *Fleet) GRPC() []string {
	var all []string
	for _, r := range f.Replicas {
		all = append(all, r.GRPC)
	}
	return all
}

// Restart kills the replica and starts it where it was, without waiting until it is
// ready.
func (r *Replica) Restart(t testing.TB) {
	t.Helper()
	r.Kill()
	r.Service = serve(t, r.binary, nil, r.GRPC, r.Admin, r.config)
}

// Revoke asks the admin address, and returns status and answer.
func (r *Replica) Revoke(t testing.TB, revocation map[string]any) (int, map[string]any) {
	t.Helper()
	content, err := json.Marshal(revocation)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+r.Admin+"/revocations", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+AdminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&answer)
	return resp.StatusCode, answer
}

// Folder is what $FILES stands for.
func (f *Fleet) Folder() string { return f.files }
