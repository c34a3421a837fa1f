package mongostore

import (
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

func TestContractOnMongoDB(t *testing.T) { storetest.Run(t, factory(realURI(t))) }
