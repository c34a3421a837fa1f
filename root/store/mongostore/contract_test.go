package mongostore

import (
	"sync"
	"testing"

	"oakestra/root/store"
	"oakestra/root/store/storetest"
)

const (
	losesUpdates = "FerretDB v1.24.2 loses concurrent compare-and-swap writes; MongoDB does not"
	losesCounts  = "FerretDB v1.24.2 loses concurrent $inc; MongoDB does not"
)

func factory(server string) storetest.Factory {
	return func(t *testing.T, dir string) store.Store { return connect(t, database(t, server, dir)) }
}

func TestContractOnFerretDB(t *testing.T) {
	storetest.Run(t, factory(ferretURI(t)),
		storetest.Without("concurrent adds number without gaps", losesUpdates),
		storetest.Without("concurrent updates lose nothing", losesUpdates),
		storetest.Without("concurrent grants are distinct", losesCounts),
	)
}

// MongoDB changes a document by one write at a time. FerretDB does so when it
// gets one write at a time: then nothing has to be left out, and what many
// writers at once do to the store's own tries is seen. It does not show that
// MongoDB does what it says.
func TestContractOnFerretDBWithOneWriteAtATime(t *testing.T) {
	server := ferretURI(t)
	var gate sync.Mutex
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		s := connect(t, database(t, server, dir))
		s.gate = &gate
		return s
	})
}

func TestContractOnMongoDB(t *testing.T) { storetest.Run(t, factory(realURI(t))) }
