// Package table keeps what the cluster told this node: the tables of services,
// the peers behind them and how far the versions have come. It also counts
// what this node is interested in and when that was last used. Pure: no I/O and
// no clock. The only caller is the loop of netmanager, which owns the values.
//
// A cluster that is away changes nothing here: only a Change removes.
package table
