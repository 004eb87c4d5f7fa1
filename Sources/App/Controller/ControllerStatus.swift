package import Foundation
import Planning
import ResourceModel

/// What `plumb status` is told: how each target stands, and to which revision.
package struct ControllerStatus: Sendable, Codable {
    package enum Standing: String, Sendable, Codable {
        /// Every resource was observed against the revision in force, and is as declared.
        case inSync
        /// Something differs and is being changed, or will be.
        case drifting
        /// Something is in the way that a person should know of.
        case problem
        /// Not looked at yet since the revision came into force.
        case pending
    }

    package struct Open: Sendable, Codable, Hashable {
        package var address: String?
        /// `drift`, or the status of a problem.
        package var status: String
        package var message: String
    }

    package struct TargetStatus: Sendable, Codable {
        package var name: String
        package var standing: Standing
        /// The revision that everything there was last seen in sync with, and when.
        package var inSyncAt: String?
        package var inSyncSince: Date?
        package var isFollowed: Bool
        package var open: [Open]
        package var lastPass: LastPass?
        /// When it is looked at next, if nothing happens before.
        package var next: Date?
    }

    package struct LastPass: Sendable, Codable {
        package var ended: Date
        package var seconds: Double
        package var reasons: [String]
        /// All of the target, or only what an event was about.
        package var isWhole: Bool
        package var changed: Int
    }

    package struct SourceStatus: Sendable, Codable {
        package var url: String
        /// The revision in force.
        package var revision: String?
        package var since: Date?
        package var lastAsked: Date?
        /// Why the newest revision is not in force, or the source can't be asked; empty: all is well.
        package var mistakes: [String]
        package var refusedRevision: String?
    }

    /// What is said at a forge.
    package struct ReportsStatus: Sendable, Codable {
        package var forge: String
        package var repository: String
        /// Open pull requests for the followed branch.
        package var open: Int
        /// Those whose authors have had plans enough for now.
        package var waiting: Int
        package var lastPosted: Date?
        /// Why a report could not be posted; it is tried again.
        package var problem: String?
        package var problemSince: Date?
    }

    /// The issue about what is only reported.
    package struct DriftIssueStatus: Sendable, Codable {
        /// That it speaks of; nil: it was not written yet.
        package var differences: Int?
        package var lastSaid: Date?
        /// Why it could not be written; it is tried again.
        package var problem: String?
        package var problemSince: Date?
    }

    package var version: String
    package var started: Date
    package var leading: Bool
    package var source: SourceStatus
    package var targets: [TargetStatus]
    package var queueDepth: Int
    /// nil: nothing is reported by itself.
    package var reports: ReportsStatus?
    /// nil: there is to be none.
    package var driftIssue: DriftIssueStatus?
}

/// How one target stands, as the controller keeps it.
struct TargetState {
    var target: Target
    /// What is declared there.
    var resources: [DesiredResource] = []
    /// What differs, or is a problem; nil address: the whole target.
    var open: [ResourceAddress?: ControllerStatus.Open] = [:]
    /// The revision of which all was observed; nil: none yet.
    var observedAt: String?
    var inSyncAt: (label: String, since: Date)?
    /// Where what is declared and not so stands, at the revision `observedAt`: what depends on it has to wait.
    var unsettled: Set<ResourceAddress> = []
    /// What differs there and is only reported.
    var reported: [ResourceAddress: Action] = [:]
    /// Answers missing in a row.
    var failures = 0
    var isFollowed = false
    var following: Task<Void, Never>?
    var lastPass: ControllerStatus.LastPass?
    /// What has been as declared since the revision came into force.
    var wasInSync: Set<ResourceAddress> = []
    /// Passes in a row that could not make all changes.
    var unmade = 0
    /// Changes made and failed at the revision in force, for who waits for it.
    var changed = 0
    var failed = 0
}
