import Testing

@testable import Hosts
@testable import SSH

/// What a monitor makes of what comes from a host; time is a number here.
struct MonitorReaderTests {
    private static let start = ContinuousClock.now

    private static func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private static func reader(limits: MonitorReader.Limits = .init(), ready: Bool = true) -> MonitorReader {
        var reader = MonitorReader(tag: "plumb-1", place: "pi", wanted: [.links, .ruleset], at: start, limits: limits)
        if ready { _ = reader.take(Array("\nplumb-1 begin links\n\nplumb-1 begin ruleset\n\nplumb-1 ready\n".utf8), at: start) }
        return reader
    }

    private static func place(_ family: String, _ table: String, _ chain: String? = nil) -> HostEvent {
        .ruleset([RulesetPlace(family: family, table: table, chain: chain)])
    }

    static let rest = "<BROADCAST,UP> mtu 1500 qdisc noqueue state UP group default \\    link/ether 16:d3:3d:03:9a:e4 brd ff:ff:ff:ff:ff:ff"

    @Test(
        arguments: [
            // Lines of iproute2 6.1 and of nft 1.0.6 as they came from real hosts.
            ("3: wlan0@if2: \(rest)", [.links(["wlan0"])]),
            ("2: eth0: \(rest)", [.links(["eth0"])]),
            ("Deleted 3: p0@wlan0: \(rest)", [.links(["p0"])]),
            ("7: eth0.5@eth0: \(rest)\r", [.links(["eth0.5"])]),
            ("4: br0: \(rest) master x state forwarding", [.links(["br0"])]),
            ("add table ip nat", [place("ip", "nat")]),
            ("delete table inet f", [place("inet", "f")]),
            ("create chain ip nat FOO", [place("ip", "nat", "FOO")]),
            ("add chain ip6 mangle OUTPUT { type route hook output priority mangle; policy accept; }", [place("ip6", "mangle", "OUTPUT")]),
            ("delete chain ip6 filter BAR", [place("ip6", "filter", "BAR")]),
            ("add rule ip nat FOO counter packets 0 bytes 0 return", [place("ip", "nat", "FOO")]),
            ("insert rule ip security A ip saddr 1.2.3.4 jump B", [place("ip", "security", "A")]),
            ("delete rule ip nat FOO handle 4", [place("ip", "nat", "FOO")]),
            ("# new generation 2 by process 5724 (iptables-nft)", []),
            ("add element ip t s { 10.0.0.1 }", []),
            ("add set ip t s { type ipv4_addr; }", []),
            ("\ttype ipv4_addr", []),
            ("", []),
            ("\r", []),
            // What was lost on the way, and what nobody can make out: anything may have happened.
            ("netlink receive error No buffer space available (105)", [.throttled(.links)]),
            ("# ERROR: We lost some netlink events!", [.throttled(.ruleset)]),
            ("add rule ip nat", [.throttled(.links), .throttled(.ruleset)]),
            ("3: wla3: wlan0@if2: <", [.links(["wla3"])]),
            ("Broadcast message from root@pi", [.throttled(.links), .throttled(.ruleset)]),
            ("add rule ip nat FOO " + String(repeating: "x", count: 1000), [.throttled(.links), .throttled(.ruleset)]),
            ("99999999999: x: <", [.throttled(.links), .throttled(.ruleset)]),
            ("3: \(String(repeating: "x", count: 65)): <", [.throttled(.links), .throttled(.ruleset)]),
            ("plumb-12 ready", [.throttled(.links), .throttled(.ruleset)]),
        ] as [(String, [HostEvent])]
    )
    func `A line`(_ line: String, _ events: [HostEvent]) {
        // In one piece, and byte by byte.
        var reader = Self.reader()
        #expect(reader.take(Array("\(line)\n".utf8), at: Self.at(1)) == events)
        reader = Self.reader()
        #expect(Array("\(line)\n".utf8).flatMap { reader.take([$0], at: Self.at(1)) } == events)
        #expect(reader.failure == nil)
    }

    @Test func `Both names of an interface that got another`() {
        var reader = Self.reader()
        #expect(reader.take(Array("3: a: <UP>\n".utf8), at: Self.at(0)) == [.links(["a"])])
        #expect(reader.take(Array("3: b: <UP>\n".utf8), at: Self.at(500)) == [.links(["a", "b"])])
        #expect(reader.take(Array("Deleted 3: b: <UP>\n3: c: <UP>\n".utf8), at: Self.at(1000)) == [.links(["b", "c"])])
        // The list at the start is for that, and is no event.
        var second = Self.reader(ready: false)
        #expect(second.take(Array("\nplumb-1 begin links\n3: a: <UP>\n".utf8), at: Self.at(0)) == [])
        #expect(second.take(Array("plumb-1 ready\n".utf8), at: Self.at(5)).count == 1)
        #expect(second.take(Array("3: b: <UP>\n".utf8), at: Self.at(6)) == [.links(["a", "b"])])
    }

    @Test func `The first is told at once, then all since, at most once in 100 ms, and the last one always`() {
        var reader = Self.reader()
        var told: [Int: [HostEvent]] = [:]
        for millisecond in 0..<250 {
            let events = reader.take(Array("3: w\(millisecond % 3): <UP>\n".utf8), at: Self.at(millisecond))
            if !events.isEmpty { told[millisecond] = events }
        }
        #expect(Set(told.keys) == [0, 100, 200])
        #expect(told[0] == [.links(["w0"])])
        #expect(Set(told.values.flatMap { $0 }.flatMap { if case .links(let names) = $0 { names } else { [""] } }) == ["w0", "w1", "w2"])
        let order = reader.order(at: Self.at(250))
        #expect(order.wakeIn == .milliseconds(50) + .microseconds(100) && !order.isPaused && order.send.isEmpty)
        #expect(reader.tick(at: Self.at(299)) == [])
        #expect(reader.tick(at: Self.at(300)).count == 1)
        #expect(reader.tick(at: Self.at(500)) == [])
    }

    @Test func `Of a flood little is read, all of it is one word, and the other source is told as before`() {
        var reader = Self.reader()
        let line = Array("3: w: <UP>\n".utf8)
        var events: [HostEvent] = []
        var read = 0
        for millisecond in 0..<10_000 {
            for _ in 0..<10 where !reader.order(at: Self.at(millisecond)).isPaused {
                events += reader.take(line, at: Self.at(millisecond))
                read += 1
            }
            events += reader.tick(at: Self.at(millisecond))
        }
        #expect(read <= 10 * 2001, "\(read)")
        let throttled = events.count { $0 == .throttled(.links) }
        #expect((5...11).contains(throttled) && events.count < 60, "\(events.count)")
        #expect(!events.contains(.throttled(.ruleset)))
        // Over: what came last is still told, and then one by one.
        _ = reader.tick(at: Self.at(12_000))
        #expect(!reader.order(at: Self.at(12_001)).isPaused)
        #expect(reader.take(Array("4: x: <UP>\nadd table ip nat\n".utf8), at: Self.at(12_100)).last == Self.place("ip", "nat"))
        #expect(reader.tick(at: Self.at(14_000)) == [.links(["x"])] || reader.tick(at: Self.at(14_000)) == [])
    }

    @Test func `Lines without end, and names without end, take no memory`() {
        var reader = Self.reader()
        for _ in 0..<100 { #expect(reader.take([UInt8](repeating: 120, count: 32 << 10), at: Self.at(0)) == []) }
        #expect(reader.take(Array("\n".utf8), at: Self.at(0)) == [.throttled(.links), .throttled(.ruleset)])
        #expect(reader.take(Array("3: w: <UP>\n".utf8), at: Self.at(2000)) == [.links(["w"])])
        // More than 256 names at once are all of them.
        let many = (0..<300).map { "\($0): v\($0): <UP>\n" }.joined()
        #expect(reader.take(Array(many.utf8), at: Self.at(4000)) == [.throttled(.links)])
    }

    @Test func `What is not followed, and why`() {
        var reader = MonitorReader(tag: "t", place: "pi", wanted: [.links, .ruleset], at: Self.start)
        let text =
            "Welcome!\n\nt begin links\n\nt missing links ip\n\nt begin ruleset\nsudo: a password is \u{1B}[31mrequired\n\nt ended ruleset 1\n\nt ready\n"
        let missing: [HostEventSource: String] = [
            .links: "'ip' is not installed there", .ruleset: "sudo: a password is [31mrequired",
        ]
        #expect(reader.take(Array(text.utf8), at: Self.at(3)) == [.connected(HostEventSources(followed: [], missing: missing))])
        // Nothing that is not followed is ever told of.
        #expect(reader.take(Array("what\n".utf8), at: Self.at(4)) == [])
    }

    @Test func `A tool that ends later ends it all, to begin anew`() {
        var reader = Self.reader()
        #expect(reader.take(Array("\nplumb-1 ended ruleset 137\n".utf8), at: Self.at(5)) == [])
        #expect(reader.failure?.message.contains("'nft monitor' on pi ended with status 137") == true)
        #expect(reader.order(at: Self.at(5)).isOver)
    }

    @Test func `Signs of life`() {
        var reader = Self.reader()
        #expect(reader.order(at: Self.at(29_999)).send.isEmpty)
        #expect(reader.order(at: Self.at(30_000)).send == Array("b\n".utf8))
        #expect(reader.order(at: Self.at(30_001)).send.isEmpty)
        _ = reader.take(Array("\nplumb-1 beat\n".utf8), at: Self.at(30_010))
        #expect(reader.order(at: Self.at(59_999)).send.isEmpty)
        #expect(!reader.order(at: Self.at(60_000)).send.isEmpty)
        _ = reader.tick(at: Self.at(89_999))
        #expect(reader.failure == nil)
        _ = reader.tick(at: Self.at(90_000))
        #expect(reader.failure?.isLost == true)
    }

    @Test func `One that never begins, and one that only prints`() {
        var reader = Self.reader(ready: false)
        _ = reader.take(Array("enter your token:\n".utf8), at: Self.at(1))
        _ = reader.tick(at: Self.at(20_000))
        #expect(reader.failure?.message.contains("within 20 s; it said: 'enter your token:'") == true)
        var noisy = Self.reader(ready: false)
        for _ in 0..<100_000 where noisy.failure == nil { _ = noisy.take(Array("hello, hello\n".utf8), at: Self.at(2)) }
        #expect(noisy.failure?.cause == .unknown)
    }

    @Test func `It is tried again for ever, at first soon, and never all at the same time`() {
        let lost = HostFailure(.unreachable, "")
        var retries = MonitorRetries()
        let slow = (0..<10).map { _ in retries.pause(after: lost, following: .zero, chance: 0.999_999) }
        #expect(slow.map { Int(($0 / .milliseconds(1)).rounded(.up)) / 1000 + 1 } == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30])
        #expect(retries.pause(after: lost, following: .zero, chance: 0) == .seconds(15))
        #expect(retries.pause(after: HostFailure(.denied, ""), following: .zero, chance: 0) == .seconds(30))
        #expect(retries.pause(after: lost, following: .seconds(60), chance: 0) == .milliseconds(500))
    }
}
