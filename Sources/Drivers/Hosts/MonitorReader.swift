internal import SSH

/// Takes apart what the program of a monitor says. A value without clock or connection.
///
/// What it can't make out once all has begun (two tools that wrote into one another's lines, a broadcast to all terminals) counts as: anything may have
/// happened.
struct MonitorReader: Sendable {
    struct Limits: Hashable, Sendable {
        /// Bytes of a line; of a longer one nothing is kept.
        var line = 64 << 10
        /// A tool writes longer lines in parts, and another's may come in between.
        var wholeLine = 1000
        /// Above this nothing more is read until the second is over.
        var linesASecond = 2000
        /// Bytes before the program's first words: what start-up files print.
        var noise = 256 << 10
        /// Interfaces whose names are remembered.
        var interfaces = 8192
        var start = Duration.seconds(20)
        var beat = Duration.seconds(30)
        /// For the answer to a sign of life.
        var answer = Duration.seconds(30)
    }

    private let tag: String
    private let place: String
    private let wanted: Set<HostEventSource>
    private let limits: Limits

    private var rest: [UInt8] = []
    private var isSkipping = false
    private var noise = 0
    private var said: [String] = []
    /// The source that is being started.
    private var starting: HostEventSource?
    private var missing: [HostEventSource: String] = [:]
    private var isReady = false
    private let begin: ContinuousClock.Instant
    private var interfaces: [Int: String] = [:]
    private var links: EventCoalescer<String>
    private var ruleset: EventCoalescer<RulesetPlace>

    private var second: ContinuousClock.Instant
    private var linesInSecond = 0
    private var pausedUntil: ContinuousClock.Instant?
    private var nextBeat: ContinuousClock.Instant
    private var beatSent: ContinuousClock.Instant?

    /// Why it is over.
    private(set) var failure: SSHFailure?

    init(tag: String, place: String, wanted: Set<HostEventSource>, at now: ContinuousClock.Instant, limits: Limits = Limits()) {
        self.tag = tag
        self.place = place
        self.wanted = wanted
        self.limits = limits
        begin = now
        links = EventCoalescer(at: now)
        ruleset = EventCoalescer(at: now)
        second = now
        nextBeat = now + limits.beat
    }

    // MARK: Input

    mutating func take(_ bytes: [UInt8], at now: ContinuousClock.Instant) -> [HostEvent] {
        var events: [HostEvent] = []
        var start = bytes.startIndex
        while failure == nil, let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if isSkipping {
                isSkipping = false
                anything()
            } else if rest.isEmpty {
                take(line: bytes[start..<end], at: now, &events)
            } else {
                let line = rest + bytes[start..<end]
                rest = []
                take(line: line[...], at: now, &events)
            }
            start = end + 1
        }
        if !isSkipping { rest += bytes[start...] }
        if rest.count > limits.line {
            isSkipping = true
            rest = []
        }
        return events + due(at: now)
    }

    mutating func tick(at now: ContinuousClock.Instant) -> [HostEvent] {
        if failure == nil {
            if !isReady, now - begin >= limits.start {
                fail("\(place) let us in, but did not begin to tell what happens there within \(limits.start.inWords)\(words)")
            } else if let beatSent, now - beatSent >= limits.answer {
                fail("\(place) has stopped answering")
            }
        }
        return due(at: now)
    }

    mutating func fail(_ message: String) { fail(.lost(message)) }

    mutating func fail(_ failure: SSHFailure) {
        if self.failure == nil { self.failure = failure }
    }

    /// What the host said that is none of our words, for a message.
    var words: String {
        let text = said.joined(separator: " ").quotable()
        return text.isEmpty ? "" : "; it said: '\(text)'"
    }

    // MARK: Output

    mutating func order(at now: ContinuousClock.Instant) -> MonitorOrder {
        var order = MonitorOrder()
        guard failure == nil else {
            order.isOver = true
            return order
        }
        if isReady, beatSent == nil, now >= nextBeat {
            order.send = [UInt8(ascii: "b"), UInt8(ascii: "\n")]
            beatSent = now
        }
        if let end = pausedUntil {
            if now >= end { pausedUntil = nil } else { order.isPaused = true }
        }
        let times = [
            isReady ? nil : begin + limits.start, isReady && beatSent == nil ? nextBeat : nil, beatSent.map { $0 + limits.answer }, pausedUntil,
            isReady ? links.next : nil, isReady ? ruleset.next : nil,
        ]
        // A little later than needed, never a little earlier: that would be a turn for nothing.
        order.wakeIn = times.compactMap { $0 }.min().map { max(.zero, $0 - now) + .microseconds(100) }
        return order
    }

    private mutating func due(at now: ContinuousClock.Instant) -> [HostEvent] {
        guard isReady, failure == nil else { return [] }
        var events: [HostEvent] = []
        switch links.take(at: now) {
        case .items(let names): events.append(.links(names))
        case .all: events.append(.throttled(.links))
        case nil: break
        }
        switch ruleset.take(at: now) {
        case .items(let places): events.append(.ruleset(places))
        case .all: events.append(.throttled(.ruleset))
        case nil: break
        }
        return events
    }

    // MARK: Lines

    private mutating func take(line: ArraySlice<UInt8>, at now: ContinuousClock.Instant, _ events: inout [HostEvent]) {
        if line.allSatisfy({ $0 == UInt8(ascii: "\r") }) { return }
        let isTooMuch = count(at: now)
        var text = Substring(String(decoding: line.prefix(limits.wholeLine), as: UTF8.self))
        if text.last == "\r" { text.removeLast() }
        if text.hasPrefix(tag), text.dropFirst(tag.count).first == " " {
            return take(own: text.dropFirst(tag.count + 1), &events)
        }
        if line.count > limits.wholeLine { anything() }
        if let link = MonitorLine.link(text) {
            note(link)
            if isTooMuch { links.noteAll() }
        } else {
            switch MonitorLine.rule(text) {
            case .place(let place):
                if isReady { ruleset.note(place) }
                if isTooMuch { ruleset.noteAll() }
            case .nothing: break
            case .linksLost: links.noteAll()
            case .rulesLost: ruleset.noteAll()
            case nil: isReady ? anything() : keep(text)
            }
        }
    }

    /// Whether this line is one too many.
    private mutating func count(at now: ContinuousClock.Instant) -> Bool {
        if now - second >= .seconds(1) {
            second = now
            linesInSecond = 0
        }
        linesInSecond += 1
        guard isReady, linesInSecond > limits.linesASecond else { return false }
        pausedUntil = second + .seconds(1)
        return true
    }

    private mutating func anything() {
        guard isReady else { return }
        if wanted.contains(.links), missing[.links] == nil { links.noteAll() }
        if wanted.contains(.ruleset), missing[.ruleset] == nil { ruleset.noteAll() }
    }

    private mutating func keep(_ text: Substring) {
        noise += text.utf8.count
        if said.count < 8 { said.append(String(text.prefix(200))) }
        if noise > limits.noise {
            fail(SSHFailure(.unknown, "\(place) sent more than 256 KiB that nobody asked for\(words): a start-up file prints without end"))
        }
    }

    private mutating func note(_ link: MonitorLine.Link) {
        let before = interfaces[link.index]
        if link.isDeleted {
            interfaces[link.index] = nil
        } else if before != nil || interfaces.count < limits.interfaces {
            interfaces[link.index] = link.name
        }
        // What happened before `ready` is covered by looking at all.
        guard isReady else { return }
        if let before, before != link.name { links.note(before) }
        links.note(link.name)
    }

    private mutating func take(own text: Substring, _ events: inout [HostEvent]) {
        let words = text.split(separator: " ")
        let source = words.count > 1 ? HostEventSource(rawValue: String(words[1])) : nil
        switch (words.first, source) {
        case ("begin", let source?):
            starting = source
            said = []
        case ("missing", let source?):
            missing[source] = words.last == "terminal" ? "its sshd gives us no terminal (PermitTTY)" : "'\(words.last ?? "")' is not installed there"
        case ("ended", let source?) where isReady:
            fail("'\(Self.tool(source)) monitor' on \(place) ended with status \(words.last ?? "?")\(self.words)")
        case ("ended", let source?):
            let reason = source == starting ? said.joined(separator: " ").quotable() : ""
            missing[source] = reason.isEmpty ? "'\(Self.tool(source)) monitor' ended with status \(words.last ?? "?")" : reason
        case ("ready", _) where !isReady:
            isReady = true
            said = []
            events.append(.connected(HostEventSources(followed: wanted.subtracting(missing.keys), missing: missing)))
        case ("beat", _):
            if let beatSent { nextBeat = beatSent + limits.beat }
            beatSent = nil
        default: break
        }
    }

    private static func tool(_ source: HostEventSource) -> String {
        switch source {
        case .links: "ip"
        case .ruleset: "nft"
        }
    }
}

/// Lines of the tools.
enum MonitorLine {
    struct Link: Hashable {
        var index: Int
        var name: String
        var isDeleted: Bool
    }

    enum Rule: Hashable {
        case place(RulesetPlace)
        /// About sets, counters and the like, or the end of a transaction.
        case nothing
        case linksLost
        case rulesLost
    }

    /// `3: wlan0@if2: <BROADCAST,…`, before it `Deleted ` or not. What follows `@` is the other end.
    static func link(_ line: Substring) -> Link? {
        let isDeleted = line.hasPrefix("Deleted ")
        let line = isDeleted ? line.dropFirst("Deleted ".count) : line
        let digits = line.prefix { $0.isASCII && $0.isNumber }
        guard (1...10).contains(digits.count), let index = Int(digits) else { return nil }
        let after = line[digits.endIndex...]
        guard after.hasPrefix(": ") else { return nil }
        let whole = after.dropFirst(2).prefix { $0 != ":" && $0 != " " }
        guard whole.endIndex < line.endIndex, line[whole.endIndex] == ":", (1...64).contains(whole.utf8.count) else { return nil }
        let name = whole.lastIndex(of: "@").map { whole[..<$0] } ?? whole
        return name.isEmpty ? nil : Link(index: index, name: String(name), isDeleted: isDeleted)
    }

    private static let verbs: Set<Substring> = ["add", "create", "insert", "delete", "destroy", "replace", "flush", "rename", "reset", "update"]
    private static let others: Set<Substring> = [
        "set", "map", "element", "flowtable", "counter", "quota", "limit", "secmark", "ct", "synproxy", "tunnel", "obj",
    ]

    /// `add rule ip nat CHAIN …`, `delete table ip6 filter`; nil: nothing that a tool says.
    static func rule(_ line: Substring) -> Rule? {
        if line.hasPrefix("netlink receive error") { return .linksLost }
        if line.hasPrefix("#") { return line.contains("ERROR") ? .rulesLost : .nothing }
        // The inside of a definition of several lines.
        if line.hasPrefix("\t") || line.hasPrefix("}") || line.hasPrefix("trace id ") { return .nothing }
        let words = line.split(separator: " ", maxSplits: 5)
        guard words.count > 1, verbs.contains(words[0]) else { return nil }
        if others.contains(words[1]) { return .nothing }
        switch words[1] {
        case "table" where words.count > 3: return .place(RulesetPlace(family: String(words[2]), table: String(words[3])))
        case "chain" where words.count > 4, "rule" where words.count > 4:
            return .place(RulesetPlace(family: String(words[2]), table: String(words[3]), chain: String(words[4])))
        default: return nil
        }
    }
}
