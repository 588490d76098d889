// Package redislog is an [eventlog.Log] on Redis Streams.
package redislog
