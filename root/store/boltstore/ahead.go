package boltstore

import (
	"fmt"
	"os"
)

const (
	aheadStep = 1 << 20 // bytes written at once
	aheadLeft = 1 << 18 // bytes left when the next are written
)

// ahead writes zeros where the file will grow. bbolt makes a file longer by
// leaving a hole, and a sync that fills a hole waits for the journal of the
// file system too, with what others have in there: twice as long as one that
// overwrites. Only what no page of the store is in yet is written to.
type ahead struct {
	file   *os.File // another handle of the store's file
	filled int64    // up to here there is no hole
	zeros  []byte
}

func openAhead(path string) (*ahead, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s again: %w", path, storage(err))
	}
	return &ahead{file: f}, nil
}

// fill is called by the one writer, before its transaction allocates anything;
// used is where that found the last page to end. A failure is none of the
// transaction: the same disk will tell it.
func (a *ahead) fill(used int64) {
	if used+aheadLeft <= a.filled {
		return
	}
	info, err := a.file.Stat()
	if err != nil {
		return
	}
	from, to := max(used, a.filled), min(used+aheadStep, info.Size()) // never longer: bbolt decides that
	if from >= to {
		return
	}
	if a.zeros == nil {
		a.zeros = make([]byte, aheadStep)
	}
	if _, err := a.file.WriteAt(a.zeros[:to-from], from); err == nil {
		a.filled = to
	}
}
