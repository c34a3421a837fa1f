package mqttlink

import (
	"encoding/json"
	"strconv"

	"oakestra/api/mqtt"
)

// scanner reads the JSON of periodic reports as agents write it, without
// reflection: decoding them was a quarter of what a manager of 10 000 workers
// does. Whatever it does not expect (a key it does not know, null, a value of
// another kind) makes it give up, and encoding/json decides: what convert.go
// sees is the same either way, which FuzzScan checks.
type scanner struct {
	b   []byte
	i   int
	bad bool
}

// next skips blanks and returns the next byte, 0 at the end.
func (s *scanner) next() byte {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return s.b[s.i]
		}
	}
	return 0
}

// take wants a byte.
func (s *scanner) take(c byte) {
	if s.next() != c {
		s.bad = true
		return
	}
	s.i++
}

// more says whether another member or element follows; end closes the list.
func (s *scanner) more(first bool, end byte) bool {
	if s.bad {
		return false
	}
	switch c := s.next(); {
	case c == end:
		s.i++
		return false
	case first:
		return true
	case c == ',':
		s.i++
		return true
	}
	s.bad = true
	return false
}

// token is a string with its quotes; plain says that it stands for itself.
func (s *scanner) token() (t []byte, plain bool) {
	s.take('"')
	if s.bad {
		return nil, false
	}
	begin := s.i - 1
	for plain = true; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[begin:s.i], plain
		case c == '\\':
			plain = false
			s.i++
		case c < 0x20 || c >= 0x80:
			plain = false
		}
	}
	s.bad = true
	return nil, false
}

func (s *scanner) text() string {
	t, plain := s.token()
	if s.bad {
		return ""
	}
	if plain {
		return string(t[1 : len(t)-1])
	}
	var v string
	if json.Unmarshal(t, &v) != nil {
		s.bad = true
	}
	return v
}

// key is the name of a member; one that needs unquoting is none we know.
func (s *scanner) key() []byte {
	t, plain := s.token()
	s.take(':')
	if s.bad || !plain {
		s.bad = true
		return nil
	}
	return t[1 : len(t)-1]
}

// digits is a number as JSON wants it.
func (s *scanner) digits() string {
	s.next()
	begin := s.i
	for s.i < len(s.b) {
		c := s.b[s.i]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		s.i++
	}
	t := s.b[begin:s.i]
	if !json.Valid(t) {
		s.bad = true
	}
	return string(t)
}

// number is one or a string that holds one.
func (s *scanner) number() (n number) {
	t := ""
	if s.next() == '"' {
		quoted, plain := s.token()
		if s.bad = s.bad || !plain; s.bad {
			return 0
		}
		t = string(quoted[1 : len(quoted)-1])
	} else if t = s.digits(); t == "" {
		s.bad = true
	}
	var err error
	if n, err = numberFrom(t); err != nil {
		s.bad = true
	}
	return n
}

func (s *scanner) float() float64 {
	f, err := strconv.ParseFloat(s.digits(), 64)
	s.bad = s.bad || err != nil
	return f
}

func (s *scanner) unsigned(bits int) uint64 {
	n, err := strconv.ParseUint(s.digits(), 10, bits)
	s.bad = s.bad || err != nil
	return n
}

func (s *scanner) signed(bits int) int64 {
	n, err := strconv.ParseInt(s.digits(), 10, bits)
	s.bad = s.bad || err != nil
	return n
}

func (s *scanner) bool() bool {
	for _, w := range [...]string{"true", "false"} {
		if s.next(); len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
			s.i += len(w)
			return w == "true"
		}
	}
	s.bad = true
	return false
}

// skip passes a value that means nothing here.
func (s *scanner) skip() {
	switch c := s.next(); c {
	case '"':
		s.text()
	case 't', 'f':
		s.bool()
	default:
		if s.digits() == "" {
			s.bad = true
		}
	}
}

// end says whether all was read and understood.
func (s *scanner) end() bool { return s.next() == 0 && s.i == len(s.b) && !s.bad }

// scanInformation reads a report; false when encoding/json has to.
func scanInformation(b []byte) (w information, ok bool) {
	s := scanner{b: b}
	s.take('{')
	for first := true; s.more(first, '}'); first = false {
		switch string(s.key()) {
		case "cpu":
			w.CPU = s.number()
		case "memory":
			w.Memory = s.number()
		case "memory_free_in_MB":
			w.MemoryFreeInMB = s.number()
		case "boot":
			w.Boot = s.text()
		case "seq":
			w.Seq = s.unsigned(64)
		case "cpu_used_percent":
			w.CPUPercent = s.float()
		case "combined":
			w.Combined = s.bool()
		case "services":
			s.bad = s.bad || w.Services != nil
			w.Services = s.services()
		case "id", "host", "ip", "port", "free_cores", "Overlay", "NetManagerPort":
			s.skip()
		default:
			s.bad = true
		}
	}
	return w, s.end()
}

// scanResources reads the list of containers of an original agent.
func scanResources(b []byte) (list []serviceReport, ok bool) {
	s := scanner{b: b}
	s.take('{')
	for first := true; s.more(first, '}'); first = false {
		if string(s.key()) != "services" || list != nil {
			s.bad = true
		}
		list = s.services()
	}
	return list, s.end()
}

func (s *scanner) services() []serviceReport {
	s.take('[')
	list := []serviceReport{}
	for first := true; s.more(first, ']'); first = false {
		list = append(list, s.service())
	}
	return list
}

func (s *scanner) service() (w serviceReport) {
	s.take('{')
	for first := true; s.more(first, '}'); first = false {
		switch key := s.key(); string(key) {
		case "cpu":
			w.CPU = s.number()
		case "memory":
			w.Memory = s.number()
		case "disk":
			w.Disk = s.number()
		default:
			s.ours(string(key), &w.ServiceReport)
		}
	}
	return w
}

func (s *scanner) ours(key string, w *mqtt.ServiceReport) {
	switch key {
	case "job_name":
		w.JobName = s.text()
	case "instance":
		w.Instance = int(s.signed(strconv.IntSize))
	case "virtualization":
		w.Virtualization = s.text()
	case "logs":
		w.Logs = s.text()
	case "service_id":
		w.ServiceID = s.text()
	case "grant":
		w.Grant = s.unsigned(64)
	case "try":
		w.Try = uint32(s.unsigned(32))
	default:
		s.state(key, w)
	}
}

func (s *scanner) state(key string, w *mqtt.ServiceReport) {
	switch key {
	case "state":
		w.State = s.text()
	case "state_seq":
		w.StateSeq = s.unsigned(64)
	case "reason":
		w.Reason = s.text()
	case "exit_code":
		w.ExitCode = int32(s.signed(32))
	case "nsip":
		w.NamespaceIP = s.text()
	case "pid":
		w.Pid = uint32(s.unsigned(32))
	case "restarting":
		w.Restarting = s.bool()
	default:
		s.bad = true
	}
}
