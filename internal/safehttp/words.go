package safehttp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// maxErrorRunes bounds what is told of an error.
const maxErrorRunes = 200

// Short makes one short line of what went wrong with a call that may take as long
// as timeout. net/http quotes answers that it cannot read, and names from
// certificates: what a stranger wrote must neither fill nor break the log.
func Short(err error, timeout time.Duration) error {
	var late interface{ Timeout() bool }
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("no answer within %s: %w", timeout, context.DeadlineExceeded)
	}
	var call *url.Error
	if errors.As(err, &call) { // the caller names the URL
		err = call.Err
	}
	if text := Line(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// Line is text without what net/http quotes of an answer, as one line.
func Line(text string) string {
	if before, _, ok := strings.Cut(text, "malformed "); ok {
		return before + "malformed answer"
	}
	text = strings.ReplaceAll(text, "\n", "; ") // of errors that were joined
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxErrorRunes {
		return string(runes[:maxErrorRunes]) + "…"
	}
	return text
}
