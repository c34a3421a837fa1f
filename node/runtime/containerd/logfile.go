package containerd

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// logs are the logs that this process has looked at, by container id.
type logs struct {
	mu sync.Mutex
	m  map[string]*logFile
}

func (l *logs) of(id, path string) *logFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.m[id]
	if f == nil {
		if l.m == nil {
			l.m = map[string]*logFile{}
		}
		f = &logFile{path: path}
		if info, err := os.Stat(path + ".1"); err == nil {
			f.older = info.Size()
		}
		l.m[id] = f
	}
	return f
}

func (l *logs) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.m, id)
}

// logFile is the output of one container. Its bytes are counted from the
// beginning of the file as this process has found it, over rotations: the file
// begins at base, the part that was put aside (".1") ends there.
type logFile struct {
	path string

	mu    sync.RWMutex // also held while files are read, so that none is cut under a reader
	base  int64
	older int64 // length of the part that was put aside
	marks []mark
}

// mark says that everything before a place was written before a time.
type mark struct {
	at    time.Time
	place int64
}

// mostMarks bounds how many are kept; then every second one goes.
const mostMarks = 512

// keep notes how far the log has come, and rotates it when it has grown to
// limit: it is copied aside and emptied. The shim holds the file open for
// appending, so its next line starts at the beginning; a line written between
// copy and truncate is lost.
func (f *logFile) keep(limit int64, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	f.note(now, f.base+info.Size())
	if info.Size() < limit {
		return nil
	}
	return f.rotate(limit)
}

func (f *logFile) note(now time.Time, place int64) {
	if n := len(f.marks); n > 1 && f.marks[n-1].place == place && f.marks[n-2].place == place {
		f.marks[n-1].at = now // nothing was written since
		return
	}
	if f.marks = append(f.marks, mark{now, place}); len(f.marks) < mostMarks {
		return
	}
	thin := f.marks[:0]
	for i, m := range f.marks {
		if i%2 == 0 || i == len(f.marks)-1 {
			thin = append(thin, m)
		}
	}
	f.marks = thin
}

func (f *logFile) rotate(limit int64) error {
	from, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer from.Close()
	start, err := from.Seek(-limit, io.SeekEnd)
	if err != nil {
		return err
	}
	to, err := os.OpenFile(f.path+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		f.older = 0 // what is aside is of no use
		return err
	}
	if err := os.Truncate(f.path, 0); err != nil {
		f.older = 0 // it would be read twice
		return err
	}
	f.base, f.older = f.base+start+n, n
	f.marks = slices.DeleteFunc(f.marks, func(m mark) bool { return m.place < f.base-f.older })
	return nil
}

// readAt reads what is kept from a place on, and says where that was: later
// than asked when it is not kept any more. It returns 0 bytes when there are
// none yet.
func (f *logFile) readAt(b []byte, place int64) (n int, at int64, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	at = max(place, f.base-f.older)
	if at < f.base {
		if n, err = read(f.path+".1", b, at-(f.base-f.older), f.base-at); n > 0 || err != nil {
			return n, at, err
		}
		at = f.base
	}
	n, err = read(f.path, b, at-f.base, int64(len(b)))
	return n, at, err
}

// read reads up to most bytes; a file that is not there is empty.
func read(path string, b []byte, from, most int64) (int, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	n, err := file.ReadAt(b[:min(int64(len(b)), most)], from)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// span is where what is kept begins and ends.
func (f *logFile) span() (first, end int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	end = f.base
	if info, err := os.Stat(f.path); err == nil {
		end += info.Size()
	}
	return f.base - f.older, end
}

// since is the place of the first byte that may be of that time or later.
func (f *logFile) since(t time.Time) int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	place := f.base - f.older
	for _, m := range f.marks {
		if m.at.After(t) {
			break
		}
		place = m.place
	}
	if info, err := os.Stat(f.path); err == nil && info.ModTime().Before(t) {
		place = f.base + info.Size() // as before this process began
	}
	return place
}

// tail is the place where the last so many lines before end begin, not before
// first.
func (f *logFile) tail(lines, first, end int64) (int64, error) {
	buf := make([]byte, 32<<10)
	for at := end; at > first; {
		from := max(first, at-int64(len(buf)))
		n, start, err := f.readAt(buf[:at-from], from)
		if err != nil {
			return 0, err
		}
		if start != from || int64(n) < at-from { // rotated meanwhile, or the seam of two files
			if n, err = f.fill(buf[:at-from], from); err != nil {
				return 0, err
			}
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != '\n' || from+int64(i) == end-1 { // the last line's own end
				continue
			}
			if lines--; lines == 0 {
				return from + int64(i) + 1, nil
			}
		}
		at = from
	}
	return first, nil
}

// fill reads over the seam between the two files.
func (f *logFile) fill(b []byte, from int64) (int, error) {
	have := 0
	for have < len(b) {
		n, _, err := f.readAt(b[have:], from+int64(have))
		if n == 0 || err != nil {
			return have, err
		}
		have += n
	}
	return have, nil
}
