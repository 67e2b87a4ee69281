//! How many examinations are under way, and of whom: one project cannot keep the others from asking.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ProjectId;

/// Each asks services and some of the cloud's API; more of them wait in the client's hands.
const EXAMINATIONS_MAX: usize = 8;
/// Of these, for the people of one project.
const OF_ONE_PROJECT_MAX: usize = 2;

/// Those under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Permits(Arc<Mutex<BTreeMap<ProjectId, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Permits,
    project: ProjectId,
}

impl Permits {
    /// Lets one more begin.
    ///
    /// Errors: why not, for people.
    pub(super) fn take(&self, project: &ProjectId) -> Result<Permit, String> {
        let mut under_way = self.lock();
        let own = under_way.get(project).copied().unwrap_or_default();
        if own >= OF_ONE_PROJECT_MAX {
            return Err(format!(
                "{own} examinations of project {project} are under way: ask again in a minute"
            ));
        }
        let all: usize = under_way.values().sum();
        if all >= EXAMINATIONS_MAX {
            return Err(format!("{all} examinations are under way: ask again in a minute"));
        }
        under_way.insert(project.clone(), own + 1);
        Ok(Permit { permits: self.clone(), project: project.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProjectId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut under_way = self.permits.lock();
        match under_way.get_mut(&self.project) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(under_way.remove(&self.project)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_leaves_room_for_others_and_all_together_are_bounded() {
        let permits = Permits::default();
        let project = |number: usize| format!("p{number}").parse::<ProjectId>().unwrap();
        let mut held = vec![permits.take(&project(0)).unwrap(), permits.take(&project(0)).unwrap()];
        assert!(permits.take(&project(0)).unwrap_err().contains("of project p0"));
        held.extend((1..4).flat_map(|number| [(); 2].map(|()| permits.take(&project(number)).unwrap())));
        assert!(permits.take(&project(9)).unwrap_err().starts_with("8 examinations are"));
        held.pop();
        permits.take(&project(9)).unwrap();
        drop(held);
        assert!(permits.lock().is_empty());
    }
}
