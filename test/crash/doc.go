// Package crash ends a real system manager with kill -9 while clients write,
// and feeds it what no client should send. What it was told to keep must be
// kept, and others must be answered meanwhile.
//
// Needs no root. `make test` kills it 20 times, `make test-long` 200 times;
// OAK_TEST_KILLS says how often, OAK_SEED replays the instants and choices.
package crash
