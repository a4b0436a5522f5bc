package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// fullBatch is how many bytes of lines are written at once, when many wait.
const fullBatch = 32 << 10

// output is where lines go. Only the writer uses it, but whoever replaces it closes it.
type output struct {
	to   io.Writer
	file *os.File // nil: not ours to close
	torn bool     // the last line there is not whole
}

// open has lines go to stderr, or to the file of that name.
func (l *DecisionLog) open(path string) error {
	o := &output{to: l.o.Stderr}
	if path != "stderr" {
		file, err := openAppending(path)
		if err != nil {
			return err
		}
		o.to, o.file = file, file
	}
	l.path = path
	l.put(o)
	return nil
}

// openAppending never waits, as opening a named pipe for writing would until somebody
// reads it. Opened for both, it fills, and whoever reads later has what is in it.
func openAppending(path string) (*os.File, error) {
	how := os.O_WRONLY | os.O_CREATE
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		how = os.O_RDWR
	}
	//nolint:gosec // the operator names the file, and has a group read it
	return os.OpenFile(path, how|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
}

// put replaces the output. The writer takes what it had not written there to the new one.
func (l *DecisionLog) put(o *output) {
	if before := l.output.Swap(o); before != nil && before.file != nil {
		_ = before.file.Close() // every write has told its own error
	}
}

// run writes decisions until quit, and then what is left.
func (l *DecisionLog) run(quit <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	for {
		select {
		case d := <-l.waiting:
			l.write(d)
		case <-quit:
			for {
				select {
				case d := <-l.waiting:
					l.write(d)
				default:
					return
				}
			}
		}
	}
}

// write writes a decision, and those that wait behind it. The first line tells how many
// are missing before it.
func (l *DecisionLog) write(d record) {
	dropped := l.unwritten.Swap(0)
	var lines bytes.Buffer
	l.encode(&lines, d.line(dropped))
	first := lines.Len()
	for more := true; more && lines.Len() < fullBatch; {
		select {
		case d = <-l.waiting:
			l.encode(&lines, d.line(0))
		default:
			more = false
		}
	}
	all := lines.Bytes()
	written, err := l.flush(all)
	if err == nil {
		return
	}
	if written < first {
		l.unwritten.Add(dropped) // nobody has read it
	}
	l.lost(bytes.Count(all[written:], []byte("\n")))
	l.failed.Do(func() { l.o.Log.Error("the decision log cannot be written", "error", err) })
}

func (l *DecisionLog) encode(to *bytes.Buffer, one line) {
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	_ = e.Encode(one) // texts and numbers, which always can be
}

// errNowhere: the log was switched off while lines waited.
var errNowhere = errors.New("switched off")

// flush writes whole lines, and returns how many bytes of them stand somewhere.
func (l *DecisionLog) flush(lines []byte) (written int, err error) {
	for {
		to := l.output.Load()
		if to == nil {
			return written, errNowhere
		}
		n, err := to.write(lines[written:])
		written += bytes.LastIndexByte(lines[written:written+n], '\n') + 1
		if err == nil || !errors.Is(err, os.ErrClosed) || l.output.Load() == to {
			return written, err
		}
	}
}

// write appends lines. A line that a full disk tore is ended first, so that it spoils no
// other.
func (o *output) write(lines []byte) (int, error) {
	if o.torn {
		if _, err := o.to.Write([]byte("\n")); err != nil {
			return 0, err
		}
		o.torn = false
	}
	n, err := o.to.Write(lines)
	o.torn = n > 0 && lines[n-1] != '\n'
	return n, err
}
