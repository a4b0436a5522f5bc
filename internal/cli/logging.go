package cli

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/bearergate/bearergate/internal/config"
)

// logSettings can change while loggers made of them are in use.
type logSettings struct {
	level slog.LevelVar
	text  atomic.Bool // else JSON
}

func (s *logSettings) set(cfg config.Log) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // config.Load has checked it
	s.level.Set(level)
	s.text.Store(cfg.Format == "text")
}

// logger returns a logger that writes to w as s says.
func (s *logSettings) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: &s.level}
	return slog.New(&handler{settings: s, text: slog.NewTextHandler(w, options), json: slog.NewJSONHandler(w, options)})
}

// handler is both formats; the settings choose at each line.
type handler struct {
	settings   *logSettings
	text, json slog.Handler
}

func (h *handler) current() slog.Handler {
	if h.settings.text.Load() {
		return h.text
	}
	return h.json
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.current().Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{settings: h.settings, text: h.text.WithAttrs(attrs), json: h.json.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{settings: h.settings, text: h.text.WithGroup(name), json: h.json.WithGroup(name)}
}
