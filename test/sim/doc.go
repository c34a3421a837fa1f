// Package sim tests oak sim end to end: the program with real daemons as its
// children, few workers, every kind of step. It needs neither root nor network.
package sim
