import Hosts
import Testing

/// The decisions, without a host.
struct CommitConfirmedTests {
    private typealias Report = CommitConfirmed.Report
    private typealias Order = CommitConfirmed.Order

    /// Feeds reports, a second apart, and returns the orders.
    private static func orders(_ reports: [Report], timeout: Int = 10) -> [Order] {
        var commit = CommitConfirmed(timeout: .seconds(timeout))
        return [commit.start] + reports.enumerated().map { second, report in commit.take(report, at: .seconds(second)) }
    }

    @Test func `The good way`() {
        #expect(Self.orders([.armed, .changed, .asDeclared, .confirmed]) == [.arm, .change, .look, .confirm, .end(.confirmed)])
    }

    @Test func `Nothing is changed that is not armed`() {
        let refusal = CommitConfirmed.Refusal.reason("no")
        #expect(Self.orders([.notArmed(refusal)]) == [.arm, .end(.refused(refusal))])
        #expect(Self.orders([.lost("x")]).last == .end(.refused(.failure(HostFailure(.unreachable, "x")))))
        for report in Self.every where report != .armed {
            guard case .end(.refused) = Self.orders([report])[1] else {
                Issue.record("\(report)")
                return
            }
        }
    }

    @Test func `A lost answer to the change is no failure yet`() {
        #expect(Self.orders([.armed, .lost("x"), .lost("y"), .asDeclared, .confirmed]) == [.arm, .change, .look, .look, .confirm, .end(.confirmed)])
        // It may still be under way, so what differs may not differ for long.
        #expect(Self.orders([.armed, .lost("x"), .differs("mtu"), .asDeclared, .changing, .asDeclared, .confirmed]).last == .end(.confirmed))
    }

    @Test func `A step that failed and a result that differs are taken back at once`() {
        #expect(Self.orders([.armed, .stepFailed("x"), .undone]) == [.arm, .change, .revert, .end(.undone("x"))])
        #expect(Self.orders([.armed, .changed, .differs("x"), .undone]) == [.arm, .change, .look, .revert, .end(.undone("x"))])
        #expect(Self.orders([.armed, .stepFailed("x"), .undoBroken("y")]).last == .end(.undoBroken("x", said: "y")))
        #expect(Self.orders([.armed, .stepFailed("x"), .lost("y"), .stillArmed, .undone]).suffix(3) == [.await, .await, .end(.undone("x"))])
    }

    @Test func `Without an answer the host decides, and is waited for`() {
        let orders = Self.orders([.armed, .changed] + Array(repeating: .lost("gone"), count: 12) + [.stillArmed, .undone])
        #expect(orders.suffix(3) == [.await, .await, .end(.undone("not confirmed within 10 s (gone)"))])
        #expect(orders.filter { $0 == .look }.count == 9)
    }

    @Test func `A host that has undone it before it is seen again was not confirmed`() {
        let orders = Self.orders([.armed, .changed] + Array(repeating: .lost("gone"), count: 8) + [.differs("mtu"), .over, .undone])
        #expect(orders.suffix(3) == [.revert, .await, .end(.undone("not confirmed within 10 s"))])
    }

    @Test func `What can't be seen is not known`() {
        let orders = Self.orders([.armed, .changed] + Array(repeating: .lost("gone"), count: 60), timeout: 3)
        let end = Order.end(.unknown("not confirmed within 3 s (gone)", undoneBy: .seconds(6)))
        #expect(orders.contains(end))
        // As long as the host was given, once it should be back.
        #expect(orders.firstIndex(of: end) == 15)
    }

    @Test func `An undo that was first is no confirmation`() {
        #expect(
            Self.orders([.armed, .changed, .asDeclared, .over, .undone]).suffix(3) == [
                .confirm, .await, .end(.undone("the host undid it before it was confirmed")),
            ]
        )
        #expect(Self.orders([.armed, .over, .undone]).last == .end(.undone("the host undid it before it was confirmed")))
    }

    @Test func `The host gives up later than we do`() {
        for seconds in 1...3600 {
            let fuse = CommitConfirmed.fuse(.seconds(seconds))
            #expect(fuse >= seconds + 2 && fuse <= seconds + max(2, seconds / 10))
            #expect(CommitConfirmed.fuse(.milliseconds(seconds * 1000 - 1)) >= seconds + 1)
        }
    }

    private static let every: [Report] = [
        .armed, .notArmed(.reason("no")), .changed, .stepFailed("x"), .asDeclared, .differs("x"), .changing, .confirmed, .over, .undone,
        .undoBroken("x"),
        .stillArmed, .lost("x"),
    ]

    /// Whatever a host answers, and however long it takes.
    @Test(arguments: 0..<500) func `Any answers end, and only a confirmation confirms`(seed: Int) {
        var random = SystemRandomNumberGenerator()
        var commit = CommitConfirmed(timeout: .seconds(5))
        var now = Duration.zero
        var orders = [commit.start]
        var reports: [Report] = []
        while true {
            if case .end = orders.last { break }
            now += .milliseconds(Int.random(in: 1...3000, using: &random))
            let report = Self.every[Int.random(in: 0..<Self.every.count, using: &random)]
            reports.append(report)
            orders.append(commit.take(report, at: now))
            guard orders.count < 20_000 else {
                Issue.record("no end: \(reports.prefix(20))")
                return
            }
        }
        for (order, report) in zip(orders, reports) {
            if orders.last == .end(.confirmed), report == reports.last { #expect(report == .confirmed && order == .confirm) }
        }
        if orders.contains(.change) { #expect(reports[0] == .armed) }
        // After the host was told to undo, or left to it, nothing is confirmed.
        if let reverting = orders.firstIndex(where: { $0 == .revert || $0 == .await }) {
            #expect(!orders[reverting...].contains(.confirm) && orders.last != .end(.confirmed))
        }
        #expect(orders.count { $0 == .change } <= 1 && orders.count { $0 == .revert } <= 1)
    }
}
