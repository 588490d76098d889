package sqllog_test

const processVariable = "SQLLOG_TEST_PROCESS"

func serveProcess(text string) {}
