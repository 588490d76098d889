-- Returns the state of the log. If it is as the caller has seen it, it changes first: it gets the
-- replication ID of the server, and if the caller wants that, the epoch.
--
-- ARGV[2], ARGV[3]: the epoch and the replication ID that the caller has seen. ARGV[4]: the server's
-- replication ID. ARGV[5]: "1" for another epoch.
if epoch == ARGV[2] and replid == ARGV[3] then
  replid = ARGV[4]
  if ARGV[5] == '1' then
    epoch = ARGV[1]
  end
  redis.call('HSET', state, 'epoch', epoch, 'replid', replid)
end
return {epoch, base, seq, check, total, replid}
