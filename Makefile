EXTENSION    = damoov
MODULE_big   = damoov
# one a line, by floor and name
OBJS         = \
	src/damoov.o \
	src/guc.o \
	src/base/bulk.o \
	src/base/clock.o \
	src/base/fault.o \
	src/base/hide.o \
	src/base/json.o \
	src/base/options.o \
	src/base/place.o \
	src/base/progress.o \
	src/base/rights.o \
	src/base/secret.o \
	src/base/secret_file.o \
	src/base/shared.o \
	src/base/sql.o \
	src/base/statistics.o \
	src/base/text.o \
	src/base/timestamp.o \
	src/base/users_code.o \
	src/base/uuid.o \
	src/base/wakeup.o \
	src/dataset/crash.o \
	src/dataset/dataset.o \
	src/dataset/keep.o \
	src/dataset/listing.o \
	src/dataset/raw.o \
	src/dataset/record.o \
	src/dataset/record_check.o \
	src/dataset/record_store.o \
	src/dataset/record_value.o \
	src/dataset/simplify.o \
	src/dataset/track.o \
	src/dataset/trip_document.o \
	src/dataset/trip_events.o \
	src/door/api.o \
	src/door/arrival.o \
	src/door/certificate.o \
	src/door/check.o \
	src/door/download.o \
	src/door/fetch.o \
	src/door/ingest.o \
	src/door/ingest_sql.o \
	src/door/lock.o \
	src/door/object.o \
	src/door/person.o \
	src/door/quarantine.o \
	src/door/server.o \
	src/door/store_dataset.o \
	src/door/subscribe.o \
	src/door/topic.o \
	src/door/webhook.o \
	src/message/dotnet.o \
	src/message/drift.o \
	src/message/envelope.o \
	src/message/notification.o \
	src/message/part.o \
	src/message/s3_event.o \
	src/message/sns.o \
	src/process/launcher.o \
	src/process/partitions.o \
	src/process/poll.o \
	src/process/run_state.o \
	src/process/source_list.o \
	src/process/tally.o \
	src/process/transaction.o \
	src/process/worker.o \
	src/provider/call.o \
	src/provider/connection_string.o \
	src/provider/eventgrid.o \
	src/provider/finding.o \
	src/provider/identity.o \
	src/provider/identity_aws.o \
	src/provider/identity_azure.o \
	src/provider/inbox.o \
	src/provider/providers.o \
	src/provider/queue_list.o \
	src/provider/servicebus.o \
	src/provider/source.o \
	src/provider/sqs.o \
	src/provider/storagequeue.o \
	src/provider/token.o \
	src/wire/address.o \
	src/wire/authorize.o \
	src/wire/gzip.o \
	src/wire/header_lines.o \
	src/wire/http.o \
	src/wire/partition.o \
	src/wire/places.o \
	src/wire/reply.o \
	src/wire/sign.o \
	src/wire/sign_azure.o \
	src/wire/socket_set.o \
	src/wire/storage.o \
	src/wire/storage_name.o \
	src/wire/url.o \
	src/wire/xml.o \

# The install script is put together from parts, each named after what it holds,
# in this order: one a line, what others need before them.
SQL_PARTS    = \
	schema \
	people \
	messages \
	sources \
	subscriptions \
	trips \
	raw \
	crashes \
	crash_samples \
	crash_buffers \
	heartbeats \
	downloads \
	documents \
	points \
	exports \
	postgis \
	places \
	notify \
	doors \
	removals \
	rules \
	objects \
	backfill \
	backfill_jobs \
	forget \
	partitions \
	reparse \
	purge \
	distribute \
	drift \
	run \
	statistics \
	risk \
	pictures \
	charts \
	pages \
	fleet_page \
	additions \
	check \
	comments \
	plans \
	rights \
	dump \

DATA_built   = sql/damoov--1.0.sql
# what was released is a file like any other
DATA         = $(filter-out $(DATA_built),$(patsubst $(srcdir)/%,%,$(wildcard $(srcdir)/sql/damoov--*.sql)))
DOCS         = docs/damoov.md docs/reference.md docs/damoov-datasets.md docs/damoov-rights.md docs/scale.md docs/how-do-i.md docs/restore-and-failover.md docs/maps.md docs/pictures.md docs/promises.md

REGRESS      = install ingest envelopes datasets points replacement orders leases privileges lifecycle storage objects webhook plans flat partitions risk exports places pictures
REGRESS_OPTS = --temp-instance=./tmp_check_regress --temp-config=$(srcdir)/test/regress.conf \
	--encoding=UTF8 --no-locale
# two sessions and more; the first makes what the others use
ISOLATION    = prelude crash-stages crash-dataset track-removal track-dataset merges-crossed lock-order persons \
	same-event bucket-objects downloads forget pack purge reparse retry partition-locks backfill-pause
ISOLATION_OPTS = --temp-instance=./tmp_check_iso --temp-config=$(srcdir)/test/regress.conf \
	--encoding=UTF8 --no-locale
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl

# Only what the server looks up is visible: modules share one name space, and
# names such as http_request are other people's, too.  15 does not do it itself.
override PG_CPPFLAGS += -I$(srcdir)/src
override PG_CFLAGS += -fvisibility=hidden '-DPGDLLEXPORT=__attribute__((visibility("default")))'
SHLIB_LINK   = -lcurl -lcjson -lcrypto -lz
EXTRA_CLEAN  = tmp_check_regress tmp_check_iso output_iso $(wildcard test/*/__pycache__)

# These two install what they need, what is included below among it.
ifneq ($(filter check demo,$(MAKECMDGOALS)),)

.PHONY: check demo
check:
	$(dir $(firstword $(MAKEFILE_LIST)))test/run
demo:
	$(dir $(firstword $(MAKEFILE_LIST)))demo/run

else

PG_CONFIG   ?= pg_config
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
# documents in a folder of our own, not in everybody's
docmoduledir := $(EXTENSION)

# The sources may be elsewhere.  VPATH would also find what was built there.
srcdir      := $(srcdir)
sources     := $(abspath $(srcdir))
vpath %.c $(srcdir)
vpath %.control $(srcdir)
override VPATH =

# an out-of-tree build has no folders yet
folders     := $(sort $(dir $(OBJS) $(DATA_built)))
$(folders):
	$(MKDIR_P) $@

$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h) | $(folders)

$(DATA_built): $(SQL_PARTS:%=$(srcdir)/sql/parts/%.sql) | $(folders)
	cat $^ > $@

# PGXS looks for documents where they are not installed
uninstall: uninstall-docs
.PHONY: uninstall-docs
uninstall-docs:
	rm -f $(patsubst docs/%,'$(DESTDIR)$(docdir)/$(docmoduledir)/%',$(DOCS))
	-rmdir '$(DESTDIR)$(docdir)/$(docmoduledir)' 2>/dev/null

# Some tests load a module of their own, from where it was built.
export DAMOOV_BUILD := $(CURDIR)
# $(call module,FOLDER,FOLDER OF THE MAKEFILE)
module       = $(MAKE) -C $(1) -f '$(sources)/$(2)/Makefile' VPATH='$(sources)/$(2)' PG_CONFIG='$(PG_CONFIG)'

.PHONY: unit
installcheck: unit
unit:
	$(MKDIR_P) test/unit
	+$(call module,test/unit,test/unit)

# Those of damaged documents load the extension from elsewhere; the second build
# takes as long as the extension's own.
.PHONY: damage
ifneq ($(findstring damage,$(PROVE_TESTS))$(findstring *,$(PROVE_TESTS)),)
installcheck: $(if $(TAP_TESTS),damage)
endif
damage: $(shlib)
	$(MKDIR_P) test/damage/plain test/damage/sanitized
	+$(call module,test/damage/plain,test/damage)
	+$(call module,test/damage/sanitized,test/damage) SANITIZE=1

# Folders go when nothing is left in them, which are none of the sources'.
.PHONY: clean-tests clean-folders
clean: clean-tests clean-folders
clean-tests:
	$(if $(wildcard test/unit),+$(call module,test/unit,test/unit) clean)
	rm -rf test/damage/plain test/damage/sanitized
clean-folders: clean-tests clean-lib
	rm -f $(OBJS) $(OBJS:.o=.bc) $(DATA_built)
	-rmdir $(folders) test/unit test/damage src test 2>/dev/null

endif
