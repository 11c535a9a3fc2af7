/*
 * rights.h
 *	  What the owner of a foreign server may have done for it.
 *
 * A server is worked for by the background worker, or by whoever calls, whose
 * rights its owner has not.  So it gets no more than its owner could do himself.
 */
#ifndef DAMOOV_RIGHTS_H
#define DAMOOV_RIGHTS_H

/* The role of a background worker for which "damoov.role" names no other. */
#define RIGHTS_ENGINE_ROLE	"damoov_engine"

/*
 * May the role use secrets of the machine that the server runs on: files,
 * environment, cloud identity?
 */
extern bool rights_use_host(Oid role);

/* May a server of this owner serve one of that owner, InvalidOid: of nobody's? */
extern bool rights_serve(Oid owner, Oid other);

/* May the current user have all servers work, whoever owns them? */
extern bool rights_are_engine(void);

#endif							/* DAMOOV_RIGHTS_H */
