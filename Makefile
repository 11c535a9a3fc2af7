EXTENSION    = damoov
MODULE_big   = damoov
OBJS         = \
	src/api.o \
	src/bulk.o \
	src/check.o \
	src/crash.o \
	src/crash_buffer.o \
	src/crash_buffer_store.o \
	src/crash_names.o \
	src/crash_time.o \
	src/damoov.o \
	src/dataset.o \
	src/document.o \
	src/dotnet.o \
	src/download.o \
	src/drift.o \
	src/envelope.o \
	src/eventgrid.o \
	src/fault.o \
	src/guc.o \
	src/http.o \
	src/identity.o \
	src/identity_aws.o \
	src/identity_azure.o \
	src/ingest.o \
	src/json.o \
	src/json_tree.o \
	src/keep.o \
	src/launcher.o \
	src/notification.o \
	src/options.o \
	src/person.o \
	src/poll.o \
	src/purge.o \
	src/queue_list.o \
	src/raw.o \
	src/raw_store.o \
	src/record.o \
	src/record_check.o \
	src/record_store.o \
	src/record_value.o \
	src/reply.o \
	src/s3_event.o \
	src/servicebus.o \
	src/sign.o \
	src/sign_azure.o \
	src/sns.o \
	src/source.o \
	src/sql.o \
	src/sqs.o \
	src/storage.o \
	src/storage_name.o \
	src/storagequeue.o \
	src/subscribe.o \
	src/timestamp.o \
	src/track.o \
	src/track_store.o \
	src/trip_events.o \
	src/url.o \
	src/uuid.o \
	src/wakeup.o \
	src/webhook.o \
	src/worker.o
DATA         = $(wildcard sql/damoov--*.sql)
DOCS         = README.md

REGRESS      = install ingest envelopes datasets replacement orders privileges lifecycle storage objects webhook
REGRESS_OPTS = --temp-instance=./tmp_check_regress --temp-config=test/regress.conf \
	--encoding=UTF8 --no-locale
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl

# Only what the server looks up is visible: modules share one name space, and
# names such as http_request are other people's, too.  15 does not do it itself.
override PG_CFLAGS += -fvisibility=hidden '-DPGDLLEXPORT=__attribute__((visibility("default")))'
SHLIB_LINK   = -lcurl -lcjson -lcrypto
EXTRA_CLEAN  = tmp_check_regress

# These two install what they need, what is included below among it.
ifneq ($(filter check demo,$(MAKECMDGOALS)),)

.PHONY: check demo
check:
	test/run
demo:
	demo/run

else

PG_CONFIG   ?= pg_config
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h)

# Some tests load a module of their own.
.PHONY: unit clean-unit
installcheck: unit
unit:
	$(MAKE) -C test/unit PG_CONFIG='$(PG_CONFIG)'
clean: clean-unit
clean-unit:
	$(MAKE) -C test/unit PG_CONFIG='$(PG_CONFIG)' clean

# Those of damaged documents load the extension from elsewhere; the second build
# takes as long as the extension's own.
.PHONY: damage clean-damage
ifneq ($(findstring damage,$(PROVE_TESTS))$(findstring *,$(PROVE_TESTS)),)
installcheck: $(if $(TAP_TESTS),damage)
endif
damage: $(shlib)
	mkdir -p test/damage/plain test/damage/sanitized
	$(MAKE) -C test/damage/plain -f ../Makefile PG_CONFIG='$(PG_CONFIG)'
	$(MAKE) -C test/damage/sanitized -f ../Makefile PG_CONFIG='$(PG_CONFIG)' SANITIZE=1
clean: clean-damage
clean-damage:
	rm -rf test/damage/plain test/damage/sanitized

endif
