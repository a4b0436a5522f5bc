package discovery

import (
	"context"
	"log/slog"
	"time"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/livefile"
	"github.com/bearergate/bearergate/internal/recovered"
)

// CheckFiles reads jwks_file, and reports why it cannot be used as a
// [*field.Error] with the key of the configuration file.
func (c Config) CheckFiles() error {
	if c.JWKSFile == "" {
		return nil
	}
	if _, err := openKeys(c.JWKSFile, slog.New(slog.DiscardHandler)); err != nil {
		return field.Errorf("jwks_file", "%w", err)
	}
	return nil
}

// keyFile is the JWKS in a file, held to the same rules as one that is fetched
// (J-10, J-11). Its pointer is another one whenever another content is in use.
type keyFile = livefile.File[*sortedKeys]

func openKeys(path string, log *slog.Logger) (*keyFile, error) {
	return livefile.Open(path, log, func(content []byte) (*sortedKeys, error) {
		return recovered.Call(func() (*sortedKeys, error) {
			keys, err := usableKeys(content)
			return &keys, err
		})
	})
}

// watchKeys uses what the file says until ctx ends. What is broken, empty or gone
// leaves the last good keys in use, and is counted as often as a failed fetch would
// be tried again, so that the alarm lasts for as long as its reason. That the file is
// good is told as often as keys are fetched elsewhere: who watches when that was last
// so need not know of files.
func (i *Issuer) watchKeys(ctx context.Context) {
	used := i.file.Value()
	i.useFile(ctx, used)
	look := time.NewTicker(livefile.Settle)
	defer look.Stop()
	for told := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		newest, problem := i.file.Value(), i.file.Problem()
		again := lastRetry
		if problem == nil {
			again = i.cfg.RefreshInterval
		}
		changed := (problem == nil) != (i.problem("keys") == nil)
		switch {
		case newest != used:
			used = newest
			i.useFile(ctx, used)
		case changed || time.Since(told) >= again:
			i.tellKeys(ctx, problem)
		default:
			continue
		}
		told = time.Now()
	}
}

// useFile has the keys of the file in use.
func (i *Issuer) useFile(ctx context.Context, keys *sortedKeys) {
	i.keys.Store(i.indexed(*keys))
	i.tellKeys(ctx, nil)
	i.alarm(ctx, keys.alarm)
}

// tellKeys tells how reading the file ended; its log lines are those of livefile.
func (i *Issuer) tellKeys(ctx context.Context, err error) {
	_ = i.remember("keys", err)
	i.events.End(i.events.Start(ctx, OperationKeys), Event{OperationKeys, i.cfg.Issuer, err})
}
