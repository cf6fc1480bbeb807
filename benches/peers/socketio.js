// A chat server as it is ordinarily written: Socket.IO 4 in front of PostgreSQL. It knows who connects by a token, lets
// members alone speak, saves each message in a row of its own, then tells the room, then acknowledges.
//
// It is kept fast: one statement a message, prepared, over a pool; members are read once and stay in memory; its places
// in a conversation are counted in memory; messages are not compressed. Presence it has none.
//
// usage: NODE_PATH=... PORT=... DATABASE_URL=postgres://... SECRET=... PEOPLE=1000 CONVERSATIONS=100 node socketio.js
//        RECOVERY=on keeps what was told in memory, for clients that come back.

'use strict';

const { randomUUID } = require('node:crypto');
const { createServer } = require('node:http');
const jwt = require('jsonwebtoken');
const { Pool } = require('pg');
const { Server } = require('socket.io');

const { PORT, DATABASE_URL, SECRET, PEOPLE, CONVERSATIONS, RECOVERY, SCHEMA } = process.env;
const pool = new Pool({ connectionString: DATABASE_URL, max: 10, options: `-c search_path=${SCHEMA}` });

const TABLES = `
    CREATE TABLE members (
        conversation_id uuid NOT NULL,
        user_id         uuid NOT NULL,
        PRIMARY KEY (conversation_id, user_id)
    );
    CREATE TABLE messages (
        conversation_id uuid        NOT NULL,
        seq             bigint      NOT NULL,
        id              uuid        NOT NULL,
        sender_id       uuid        NOT NULL,
        client_id       text        NOT NULL,
        body            jsonb       NOT NULL,
        created_at      timestamptz NOT NULL,
        PRIMARY KEY (conversation_id, seq),
        UNIQUE (client_id, sender_id, conversation_id)
    );`;

const SAVE = `INSERT INTO messages (conversation_id, seq, id, sender_id, client_id, body, created_at)
              VALUES ($1, $2, $3, $4, $5, $6, $7)
              ON CONFLICT (client_id, sender_id, conversation_id) DO NOTHING RETURNING seq`;
const FIND = `SELECT seq, id, body, created_at FROM messages
              WHERE client_id = $1 AND sender_id = $2 AND conversation_id = $3`;

const uuid = (kind, number) => `${kind}-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;

// Person by person the conversations are filled, one after the other.
async function fill() {
    await pool.query(TABLES);
    const each = Math.ceil(PEOPLE / CONVERSATIONS);
    const people = [...Array(+PEOPLE).keys()];
    await pool.query('INSERT INTO members (conversation_id, user_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])', [
        people.map((it) => uuid('00000002', Math.floor(it / each))),
        people.map((it) => uuid('00000001', it)),
    ]);
}

async function members() {
    const of = new Map();
    for (const row of (await pool.query('SELECT conversation_id, user_id FROM members')).rows) {
        if (!of.has(row.user_id)) of.set(row.user_id, new Set());
        of.get(row.user_id).add(row.conversation_id);
    }
    return of;
}

// The last place of each conversation.
const places = new Map();

async function save(sender, { conversation_id: conversation, client_id: client, text }) {
    const seq = (places.get(conversation) ?? 0) + 1;
    places.set(conversation, seq);
    const [id, at, body] = [randomUUID(), new Date(), { text }];
    const saved = await pool.query({
        name: 'save',
        text: SAVE,
        values: [conversation, seq, id, sender, client, body, at],
    });
    const event = { stream: conversation, epoch: 1, seq, id, kind: 'message', sender, client_id: client, at, body };
    if (saved.rowCount === 1) return [event, true];
    const row = (await pool.query({ name: 'find', text: FIND, values: [client, sender, conversation] })).rows[0];
    return [{ ...event, seq: Number(row.seq), id: row.id, body: row.body, at: row.created_at }, false];
}

async function main() {
    await fill();
    const conversations = await members();
    const http = createServer((_, answer) => answer.end());
    const io = new Server(http, {
        serveClient: false,
        connectionStateRecovery: RECOVERY === 'on' ? {} : undefined,
    });
    io.use((socket, next) => {
        jwt.verify(socket.handshake.auth.token, SECRET, { algorithms: ['HS256'] }, (error, claims) => {
            socket.data.user = claims?.sub;
            next(error ? new Error('unauthenticated') : undefined);
        });
    });
    io.on('connection', (socket) => {
        const { user } = socket.data;
        const own = conversations.get(user) ?? new Set();
        socket.join([...own]);
        const speaks = (form, acknowledge) => {
            const may = own.has(form?.conversation_id) && typeof form.text === 'string' && form.text.length <= 4000;
            if (!may) acknowledge?.({ error: { message: 'no such conversation' } });
            return may;
        };
        socket.on('new_message', async (form, acknowledge) => {
            if (!speaks(form, acknowledge)) return;
            try {
                const [event, isNew] = await save(user, form);
                if (isNew) io.to(form.conversation_id).emit('new_message', event);
                acknowledge?.(event);
            } catch (error) {
                acknowledge?.({ error: { message: error.message } });
            }
        });
        // Told to the room and kept nowhere.
        socket.on('announce_message', (form, acknowledge) => {
            if (!speaks(form, acknowledge)) return;
            const seq = (places.get(form.conversation_id) ?? 0) + 1;
            places.set(form.conversation_id, seq);
            const { conversation_id: stream, client_id, text } = form;
            const told = { stream, epoch: 1, seq, id: randomUUID(), kind: 'message', sender: user, client_id };
            io.to(stream).emit('new_message', { ...told, at: new Date(), body: { text } });
            acknowledge?.({ seq });
        });
        socket.emit('ready', { conversations: own.size });
    });
    http.listen(+PORT, '127.0.0.1', 4096, () => console.log('ready'));
}

main();
