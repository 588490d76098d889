package natslog

// NATSSubject is for tests that publish as another application does.
var NATSSubject = natsSubject
