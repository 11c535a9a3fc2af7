// What one would write by hand in Node: pg, pg-copy-streams, and a connection for each receive.
//
//     node peer.js URL MODE RECEIVES DOWNLOADS
//
// As peer.py.
'use strict';

const http = require('http');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const { promisify } = require('util');
const gunzip = promisify(require('zlib').gunzip);
const { Client, types } = require('pg');
const { from: copyFrom } = require('pg-copy-streams');

const [url, mode, receives, downloads] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

const EVENTS = 'events(source, event, user_id, client_id, object_id, object_type, sent_at, sent_text, payload)';
const HEARTBEATS = 'heartbeats(user_id, reported_at, received_at, charge_percent, wifi_enabled, gps_enabled, '
  + 'mobile_data_enabled, real_time_location_enabled, waiting_trips, instance_id)';
const DOWNLOADS = 'downloads(object_id, user_id, url)';
const TRIP = {
  started_at: 'StartDate', ended_at: 'EndDate', distance_km: 'Distance', duration_min: 'Duration', status: 'Status',
  origin: 'TrackOriginCode', share_type: 'ShareType', address_start: 'AddressStart', address_end: 'AddressEnd',
  city_start: 'CityStart', city_end: 'CityFinish', rating: 'Rating', score: 'Rating100',
  score_acceleration: 'RatingAcceleration100', score_braking: 'RatingBraking100', score_cornering: 'RatingCornering100',
  score_speeding: 'RatingSpeeding100', score_phone_usage: 'RatingPhoneDistraction100', driving_tips: 'DrivingTips',
};
const TRIPS = `trips(track_token, user_id, point_count, ${Object.keys(TRIP).join(', ')})`;
const POINTS = 'trip_points(trip_id, seq, point_id, number, recorded_at, latitude, longitude, total_meters, speed_kmh, '
  + 'mid_speed_ms, speed_limit_kmh, alert_value_ms2, lateral_ms2, course_deg, yaw_deg, height_mm, speed_type, alert_type, '
  + 'cornering, phone_usage, is_filler)';
const POINTS_A_STATEMENT = 100;

// ---- the services

function request(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request(url + path, { method, headers, agent }, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('end', () => resolve(Buffer.concat(chunks)));
      reply.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

async function sqs(action, parameters) {
  const body = JSON.stringify({ QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/000000000000/damoov', ...parameters });
  const headers = {
    'X-Amz-Target': `AmazonSQS.${action}`, 'Content-Type': 'application/x-amz-json-1.0', 'Content-Length': Buffer.byteLength(body),
  };
  return JSON.parse(await request('POST', '/', headers, body));
}

async function fetchTrack(address, userId) {
  const place = new URL(address);
  const reply = await request('GET', place.pathname + place.search, { DeviceToken: userId, 'Accept-Encoding': 'gzip' });
  return JSON.parse(await gunzip(reply)).Result.Track;
}

// ---- the tables

const ESCAPES = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function copyText(value) {
  if (value === null || value === undefined) return '\\N';
  return typeof value === 'string' ? value.replace(/[\\\t\n\r]/g, (special) => ESCAPES[special]) : String(value);
}

async function copy(db, target, rows) {
  const text = rows.map((row) => row.map(copyText).join('\t')).join('\n') + '\n';
  await pipeline(Readable.from([Buffer.from(text)]), db.query(copyFrom(`COPY ${target} FROM STDIN`)));
}

function placeholders(count, width) {
  let number = 0;
  const row = () => `(${Array.from({ length: width }, () => `$${++number}`).join(', ')})`;
  return Array.from({ length: count }, row).join(', ');
}

// Statements of one shape are prepared once by each connection.
async function insertRows(db, table, rows) {
  const text = `INSERT INTO peer.${table} VALUES ${placeholders(rows.length, rows[0].length)} ON CONFLICT DO NOTHING`;
  await db.query({ name: `${table.split('(')[0]} ${rows.length}`, text, values: rows.flat() });
}

// Rows that are there already are left alone.
async function insert(db, table, rows) {
  if (rows.length === 0) return;
  if (mode === 'row') {
    for (const row of rows) await insertRows(db, table, [row]);
  } else if (mode === 'multi-row') {
    for (let at = 0; at < rows.length; at += POINTS_A_STATEMENT) await insertRows(db, table, rows.slice(at, at + POINTS_A_STATEMENT));
  } else {
    const [name, columns] = table.slice(0, -1).split('(');
    await db.query(`CREATE TEMP TABLE IF NOT EXISTS new_${name} AS SELECT ${columns} FROM peer.${name} WHERE false`);
    await copy(db, `new_${table}`, rows);
    await db.query(`INSERT INTO peer.${table} SELECT * FROM new_${name} ON CONFLICT DO NOTHING`);
    await db.query(`TRUNCATE new_${name}`);
  }
}

const eventRow = (body, note) => ['queue', note.Event, note.UserId, note.ClientId, note.Object.Id, note.Object.Type,
  note.Timestamp, note.Timestamp, body];

function heartbeatRow(note) {
  const d = note.Details;
  return [note.UserId, note.Timestamp, d.TimeReceived, d.ChargeLevel, d.WifiEnabled, d.GPSEnabled, d.MobileDataEnabled,
    d.RealTimeLocationEnabled, d.NotUploadedTripsCount, d.InstanceId];
}

const isFiller = (p) => p.Course === 0 && p.Height === 0 && p.MidSpeed === 0;
const pointRow = (tripId, seq, p) => [tripId, seq, p.Id, p.Number, p.PointDate, p.Latitude, p.Longitude, p.TotalMeters, p.Speed,
  p.MidSpeed, p.SpeedLimit === 999 ? null : p.SpeedLimit, p.AlertType ? p.AlertValue : null, p.Lateral, p.Course, p.Yaw,
  p.Height, p.SpeedType, p.AlertType || null, p.Cornering, p.PhoneUsage, isFiller(p)];

async function storeNotifications(db, messages) {
  const notes = messages.map((message) => JSON.parse(message.Body));
  await db.query('BEGIN');
  await insert(db, EVENTS, notes.map((note, at) => eventRow(messages[at].Body, note)));
  await insert(db, HEARTBEATS, notes.filter((note) => note.Event === 'HeartbeatReceived').map(heartbeatRow));
  await insert(db, DOWNLOADS, notes.filter((note) => note.Event === 'TrackEnrichmentFinished')
    .map((note) => [note.Object.Id, note.UserId, note.Object.Url]));
  await db.query('COMMIT');
}

async function storeTrip(db, objectId, userId, track) {
  const values = [objectId, userId, track.Points.length, ...Object.values(TRIP).map((name) => track[name])];
  await db.query('BEGIN');
  const { rows } = await db.query({
    name: 'trip', text: `INSERT INTO peer.${TRIPS} VALUES ${placeholders(1, values.length)} RETURNING trip_id`, values,
  });
  const points = track.Points.map((point, seq) => pointRow(rows[0].trip_id, seq, point));
  if (mode === 'copy') await copy(db, `peer.${POINTS}`, points);
  else await insert(db, POINTS, points);
  await db.query({ name: 'done', text: 'DELETE FROM peer.downloads WHERE object_id = $1', values: [objectId] });
  await db.query('COMMIT');
}

// ---- the work

async function receiveAll(db) {
  for (;;) {
    const { Messages } = await sqs('ReceiveMessage', { MaxNumberOfMessages: 10, WaitTimeSeconds: 0 });
    if (!Messages) return;
    await storeNotifications(db, Messages);
    await sqs('DeleteMessageBatch', { Entries: Messages.map((message, at) => ({ Id: String(at), ReceiptHandle: message.ReceiptHandle })) });
  }
}

async function fetchAll(db, waiting) {
  for (let next; (next = waiting.pop());) {
    await storeTrip(db, next.object_id, next.user_id, await fetchTrack(next.url, next.user_id));
  }
}

async function main() {
  const connections = Array.from({ length: Math.max(receives, downloads) }, () => new Client());
  await Promise.all(connections.map((db) => db.connect()));
  console.log('ready');
  await new Promise((resolve) => process.stdin.once('data', resolve));
  await Promise.all(connections.slice(0, +receives).map(receiveAll));
  const { rows: waiting } = await connections[0].query('SELECT object_id, user_id, url FROM peer.downloads');
  await Promise.all(connections.slice(0, +downloads).map((db) => fetchAll(db, waiting)));
  console.log(JSON.stringify({ ended: Date.now() / 1000 }));
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

types.setTypeParser(20, Number);
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
