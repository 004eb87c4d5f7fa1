import Controller
import Foundation
import Glibc
import Logging
import Synchronization
import Testing
import Values

@Suite struct LogHandlerTests {
    private final class Lines: Sendable {
        let lines = Mutex<[String]>([])
    }

    private func lines(_ format: Configuration.Log.Format, level: Configuration.Log.Level = .info, _ body: (inout Logger) -> Void) -> [String] {
        let lines = Lines()
        var log = Configuration().log
        log.format = format
        log.level = level
        var logger = Logger(label: "plumb") { _ in
            LineLogHandler(log, now: { .seconds(1_796_040_000) + .milliseconds(123) }) { line in lines.lines.withLock { $0.append(line) } }
        }
        body(&logger)
        return lines.lines.withLock { $0 }
    }

    @Test func `A line has its time, level, fields and message`() {
        let lines = lines(.text) { logger in
            logger[metadataKey: "target"] = "pi-1"
            logger.info("is as declared again", metadata: ["revision": "4f1c2d3", "why": "a push"])
            logger.debug("not shown")
            logger.error("gone")
        }
        #expect(
            lines == [
                "2026-11-30T12:00:00.123Z info    revision=4f1c2d3 target=pi-1 why=\"a push\" is as declared again\n",
                "2026-11-30T12:00:00.123Z error   target=pi-1 gone\n",
            ]
        )
    }

    @Test(arguments: [Configuration.Log.Format.text, .json]) func `What others said can't forge a line or move a terminal`(
        format: Configuration.Log.Format
    ) {
        let evil = "a\n2026-11-30T12:00:00.123Z info    forged\u{1B}[31m\u{202E}\r"
        let lines = lines(format) { logger in
            logger.info("\(evil)", metadata: ["host": "\(evil)", "\(evil)": "x", "list": ["\(evil)", ["\(evil)": "\(evil)"]]])
        }
        #expect(lines.count == 1)
        let line = lines.first?.dropLast() ?? ""
        #expect(!line.unicodeScalars.contains { $0.properties.generalCategory == .control || $0.properties.generalCategory == .format }, "\(line)")
    }

    @Test func `JSON is one object a line, and nobody's field takes the place of ours`() throws {
        let lines = lines(.json) { logger in
            logger.warning("m", metadata: ["message": "x", "time": "y", "target": "pi-1", "names": ["a", "b"]])
        }
        let value = try Value(json: try #require(lines.first).utf8)
        #expect(
            value == ["time": "2026-11-30T12:00:00.123Z", "level": "warning", "message": "m", "target": "pi-1", "names": ["a", "b"]]
        )
    }

    @Test(arguments: [Configuration.Log.Format.text, .json]) func `A line has a limit`(format: Configuration.Log.Format) throws {
        let long = String(repeating: "é", count: 1 << 20)
        let lines = lines(format) { logger in
            var fields: Logger.Metadata = [:]
            for number in 0..<50 { fields["field-\(number)"] = "\(long)" }
            logger.info("\(long)", metadata: fields)
        }
        let line = try #require(lines.first)
        #expect(lines.count == 1 && line.utf8.count <= (16 << 10) + 4 && line.hasSuffix("\n"), "\(line.utf8.count)")
        if format == .json { #expect(try Value(json: line.utf8)["isCut"] == true) }
    }
}

@Suite struct ServiceManagerTests {
    private func received(abstract: Bool, _ body: (String) throws -> Void) throws -> [String] {
        let path = "\(abstract ? "@" : "/tmp/")plumb-notify-\(UUID().uuidString.prefix(8))"
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        defer { close(descriptor) }
        var place = sockaddr_un()
        place.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(path.utf8)
        if abstract { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &place.sun_path) { $0.copyBytes(from: bytes) }
        let bound = withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(2 + bytes.count)) }
        }
        try #require(bound == 0)
        defer { if !abstract { unlink(path) } }
        try body(path)
        var messages: [String] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return messages }
            messages.append(String(decoding: buffer[..<count], as: UTF8.self))
        }
    }

    @Test(arguments: [false, true]) func `systemd is told, in its own words`(abstract: Bool) throws {
        let messages = try received(abstract: abstract) { path in
            let manager = ServiceManager(environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"], pid: 7)
            #expect(manager.watchdogInterval == .seconds(15))
            manager.isReady("at 4f1c2d3\nMAINPID=1")
            manager.isAlive()
            manager.isReloading()
            manager.isStopping()
        }
        try #require(messages.count == 4)
        #expect(messages[0] == "READY=1\nSTATUS=at 4f1c2d3 MAINPID=1")
        #expect(messages[1] == "WATCHDOG=1")
        #expect(messages[2].hasPrefix("RELOADING=1\nMONOTONIC_USEC=") && messages[2].split(separator: "=").last.flatMap { Int($0) } ?? 0 > 0)
        #expect(messages[3] == "STOPPING=1")
    }

    @Test func `Without systemd nothing is told, and a watchdog of another process is none of ours`() {
        for environment in [[:], ["NOTIFY_SOCKET": ""], ["NOTIFY_SOCKET": "x"], ["NOTIFY_SOCKET": "/\(String(repeating: "x", count: 200))"]] {
            let manager = ServiceManager(environment: environment.merging(["WATCHDOG_USEC": "1000000"]) { $1 })
            #expect(manager.watchdogInterval == nil)
            manager.isReady("x")
        }
        let other = ServiceManager(environment: ["NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"], pid: 7)
        #expect(other.watchdogInterval == nil)
    }
}
