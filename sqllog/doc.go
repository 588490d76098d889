// Package sqllog is an [eventlog.Log] in the application's own database. Events survive a restart of the
// process, and can be part of the application's transactions: the comment, its row of notification and
// its event commit together, or not at all.
package sqllog
