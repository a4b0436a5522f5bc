package shared

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	logName     = "revocations"
	logField    = "e"
	originBytes = 8

	// maxLog bounds the entries of the log, with room for those that are written
	// back by several replicas.
	maxLog = 2_000_000
)

// Append writes an entry to the log. false: it could not be written now, and will be
// when the store is back.
func (s *Store) Append(ctx context.Context, entry []byte) (shared bool) {
	entry = append([]byte(nil), entry...)
	if s.write(ctx, [][]byte{entry}) == nil {
		return true
	}
	s.log.wait(entry)
	s.log.change()
	return false
}

// write appends entries that are ours to keep.
func (s *Store) write(ctx context.Context, entries [][]byte) error {
	keys := s.keys.Value().forLog()
	results, err := s.ask(ctx, Revoke, func(b valkey.Builder) (all []valkey.Completed) {
		for _, e := range entries {
			for _, k := range keys {
				all = append(all, s.add(b, k, e))
			}
		}
		return all
	}, nil)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		text, err := results[i*len(keys)].ToString()
		if err != nil {
			return err // somebody put something else there
		}
		at, err := parsePosition(text)
		if err != nil {
			return err
		}
		s.log.wrote(at, entry)
	}
	return nil
}

func (s *Store) stream() string { return s.cfg.Prefix + logName }

func (s *Store) add(b valkey.Builder, k *key, entry []byte) valkey.Completed {
	content := append(append([]byte(nil), s.origin[:]...), entry...)
	sealed := k.seal(id{kind: kindLog}, nil, content)
	return b.Xadd().Key(s.stream()).Maxlen().Almost().Threshold(strconv.Itoa(maxLog)).Id("*").
		FieldValue().FieldValue(logField, valkey.BinaryString(sealed)).Build()
}

// flush writes what waits whenever the store is there.
func (s *Store) flush() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.log.changed:
		}
		for entries := s.log.take(); len(entries) > 0; entries = s.log.take() {
			if s.write(s.ctx, entries) != nil {
				s.log.wait(entries...)
				break // it is told when the store is back
			}
		}
	}
}

// position is where an entry stands in the log: the time of the store in ms, and a
// number within it.
type position struct{ ms, seq uint64 }

func parsePosition(text string) (position, error) {
	ms, seq, _ := strings.Cut(text, "-")
	var p position
	var err error
	if p.ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
		p.seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return position{}, fmt.Errorf("got entry ID %q, want two numbers", text)
	}
	return p, nil
}

func (p position) String() string {
	return strconv.FormatUint(p.ms, 10) + "-" + strconv.FormatUint(p.seq, 10)
}

func (p position) before(q position) bool { return p.ms < q.ms || p.ms == q.ms && p.seq < q.seq }

func (p position) time() time.Time { return time.UnixMilli(int64(p.ms)) } //nolint:gosec // a time in ms
