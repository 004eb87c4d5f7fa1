import Foundation
import GRDB
import Stores
import Testing
import Values

@Suite(.serialized) struct InventoryTests {
    private static let first = String(repeating: "1", count: 32)
    private static let second = String(repeating: "2", count: 32)

    private func host(_ id: String, at time: Date = noon, by who: String? = nil) -> Inventory.Identity {
        Inventory.Identity(target: "pi-1", kind: "host", id: id, hostKey: "SHA256:x", firstSeen: time, lastSeen: time, acceptedBy: who)
    }

    private func mtu(_ observed: Value?, _ desired: Value?, _ address: String = "pi-1/NetworkInterface/wlan0") -> SettingChange {
        SettingChange(
            address: address,
            kind: "NetworkInterface",
            handler: "NetworkInterface",
            fields: [.init(path: "mtu", observed: observed, desired: desired)]
        )
    }

    private func withJournal(_ body: (Journal) async throws -> Void) async throws {
        try await withScratch { path in
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            try await journal.noteSeen([host(Self.first)])
            try await body(journal)
        }
    }

    // MARK: Versions and places

    @Test func anOlderJournalIsReadAsItIsAndMigratedByTheNextApply() async throws {
        try await withScratch { path in
            let file = "\(path)/journal.sqlite"
            try makeFirstSchema(at: file)
            let before = FileManager.default.contents(atPath: file)
            #expect(try Inventory.read(in: DataDirectory(existing: path)) == Inventory())
            #expect(FileManager.default.contents(atPath: file) == before, "reading changes nothing")

            let journal = try Journal.open(in: try DataDirectory(creating: path))
            try await journal.noteSeen([host(Self.first)])
            try await journal.hold([mtu(1500, 1400)], at: "pi-1", run: 7, time: noon)
            #expect(try await journal.inventory().settings.map(\.run) == [7])
            #expect(try await journal.run(7)?.message == "1 succeeded", "what was there stays")
            #expect(try await journal.actions(of: 7).first?.start.fields == [.init(path: "mtu", observed: 1500, desired: 1400)])
        }
    }

    @Test func readingMakesNothing() async throws {
        try await withScratch { path in
            for place in ["\(path)/none", path] {
                let inventory = try Inventory.read(in: DataDirectory(existing: place))
                #expect(inventory == Inventory())
            }
            let made = try FileManager.default.contentsOfDirectory(atPath: path)
            #expect(made.isEmpty)
        }
    }

    @Test func canBeReadOnAReadOnlyDisk() async throws {
        try await withDisk(size: "4m") { path in
            do {
                let journal = try Journal.open(in: try DataDirectory(creating: path))
                try await journal.noteSeen([host(Self.first)])
            }
            try command("mount", "-o", "remount,ro", path)
            #expect(try Inventory.read(in: DataDirectory(existing: path)).identities["pi-1"] == host(Self.first))
        }
    }

    @Test func aDamagedOneIsNamed() async throws {
        try await withScratch { path in
            try Data("no database at all, but long enough to be taken for one".utf8).write(to: URL(fileURLWithPath: "\(path)/journal.sqlite"))
            let failure = await failure { _ = try Inventory.read(in: DataDirectory(existing: path)) }
            #expect(failure?.message.contains("journal.sqlite is damaged") == true, "\(String(describing: failure))")
        }
    }

    // MARK: Identities

    @Test func whoIsKnownIsReplacedByNobodyButAccept() async throws {
        try await withJournal { journal in
            try await journal.noteSeen([host(Self.first, at: noon + 60)])
            #expect(try await journal.inventory().identities["pi-1"]?.lastSeen == noon + 60)
            #expect(try await journal.inventory().identities["pi-1"]?.firstSeen == noon)
            try await journal.noteSeen([host(Self.second, at: noon + 120)])
            #expect(try await journal.inventory().identities["pi-1"]?.id == Self.first)

            try await journal.hold([mtu(1500, 1400)], at: "pi-1", run: nil, time: noon)
            try await journal.accept(host(Self.second, at: noon + 180, by: "alice@laptop"))
            #expect(try await journal.inventory().identities == ["pi-1": host(Self.second, at: noon + 180, by: "alice@laptop")])
            #expect(try await journal.inventory().settings.isEmpty, "a pre-image never gets to another machine")
            // Nor back to the first one: what was done to it meanwhile is not known.
            try await journal.accept(host(Self.first, at: noon + 240, by: "alice@laptop"))
            #expect(try await journal.inventory().settings.isEmpty)
        }
    }

    @Test func ofWhoIsNotKnownNothingIsKept() async throws {
        try await withJournal { journal in
            try await journal.hold([mtu(1500, 1400, "pi-2/NetworkInterface/wlan0")], at: "pi-2", run: nil, time: noon)
            #expect(try await journal.inventory().settings.isEmpty)
        }
    }

    // MARK: Settings

    @Test func theFirstPreImageStays() async throws {
        try await withJournal { journal in
            for (observed, desired) in [(1500, 1400), (1450, 1300)] as [(Value, Value)] {
                try await journal.hold([mtu(observed, desired)], at: "pi-1", run: nil, time: noon)
                try await journal.settle([(mtu(observed, desired), .changed)], at: "pi-1", run: nil, time: noon + 1)
            }
            let setting = try #require(try await journal.inventory().settings.first)
            #expect(setting.fields == [.init(path: "mtu", before: 1500, applied: 1300)])
            #expect(setting.firstApplied == noon && setting.lastApplied == noon + 1)
        }
    }

    @Test(arguments: [(.changed, [false]), (.uncertain, [true]), (.asBefore, [])] as [(SettingEnding, [Bool])])
    func whatWasNotDoneIsNotHeld(ending: SettingEnding, pending: [Bool]) async throws {
        try await withJournal { journal in
            try await journal.hold([mtu(1500, 1400)], at: "pi-1", run: nil, time: noon)
            #expect(try await journal.inventory().settings.first?.fields.map(\.isPending) == [true], "written before it is done")
            try await journal.settle([(mtu(1500, 1400), ending)], at: "pi-1", run: nil, time: noon)
            #expect(try await journal.inventory().settings.first?.fields.map(\.isPending) ?? [] == pending)
        }
    }

    @Test func whatWasHeldBeforeStaysHeldWhenAChangeIsTakenBack() async throws {
        try await withJournal { journal in
            try await journal.hold([mtu(1500, 1400)], at: "pi-1", run: nil, time: noon)
            try await journal.settle([(mtu(1500, 1400), .changed)], at: "pi-1", run: nil, time: noon)
            var second = mtu(1400, 1300)
            second.fields.append(.init(path: "flags.up", observed: nil, desired: true))
            try await journal.hold([second], at: "pi-1", run: nil, time: noon)
            try await journal.settle([(second, .asBefore)], at: "pi-1", run: nil, time: noon)
            #expect(try await journal.inventory().settings.first?.fields == [.init(path: "mtu", before: 1500, applied: 1400)])
        }
    }

    @Test func whatTurnsOutToBeDoneIsNoLongerPending() async throws {
        try await withJournal { journal in
            let other = "pi-1/NetworkInterface/eth0"
            try await journal.hold([mtu(1500, 1400), mtu(1500, 1400, other)], at: "pi-1", run: nil, time: noon)
            try await journal.confirm([other])
            #expect(try await journal.inventory().settings.map { $0.fields.map(\.isPending) } == [[false], [true]])
        }
    }

    @Test func whatIsReportedIsMarkedUntilItIsChangedAgain() async throws {
        try await withJournal { journal in
            try await journal.hold([mtu(1500, 1400)], at: "pi-1", run: nil, time: noon)
            try await journal.markReported(["pi-1/NetworkInterface/wlan0": ["mtu"]])
            #expect(try await journal.inventory().settings.first?.fields.map(\.isReported) == [true])
            try await journal.settle([(mtu(1500, 1400), .changed)], at: "pi-1", run: nil, time: noon)
            #expect(try await journal.inventory().settings.first?.fields.map(\.isReported) == [false])
            try await journal.markReported(["pi-1/NetworkInterface/wlan0": ["mtu"]])
            try await journal.markReported([:])
            #expect(try await journal.inventory().settings.first?.fields.map(\.isReported) == [false])
        }
    }

    @Test func whatIsGivenUpIsGone() async throws {
        try await withJournal { journal in
            let other = "pi-1/NetworkInterface/eth0"
            try await journal.hold([mtu(1500, 1400), mtu(1500, 1400, other)], at: "pi-1", run: nil, time: noon)
            try await journal.giveUp(["pi-1/NetworkInterface/wlan0"], at: "pi-1")
            #expect(try await journal.inventory().settings.map(\.address) == [other])
        }
    }

    @Test func holdsNoSecret() async throws {
        try await withScratch { path in
            let canary = "canary-\(UUID().uuidString)"
            let secret = Value.sensitive(SensitiveValue(.string(canary)))
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            try await journal.noteSeen([host(Self.first)])
            try await journal.hold([mtu(secret, ["key": secret])], at: "pi-1", run: nil, time: noon)
            try await journal.settle([(mtu(secret, ["key": secret]), .changed)], at: "pi-1", run: nil, time: noon)
            for name in try FileManager.default.contentsOfDirectory(atPath: path) {
                let bytes = try #require(FileManager.default.contents(atPath: "\(path)/\(name)"))
                #expect(bytes.range(of: Data(canary.utf8)) == nil, "\(name)")
            }
        }
    }
}
