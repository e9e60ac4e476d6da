/** The study JSON of the server (`GET /api/v1/studies/{uid}`). */

export interface Finding {
  name: string;
  meaning: string;
  probability: number;
  threshold: number;
  present: boolean;
  doubt: 'marked' | 'stopped' | null;
  map: string | null;
}

export interface StudyImage {
  sop_instance_uid: string;
  series_instance_uid: string;
  instance_number: number | null;
  rows: number | null;
  columns: number | null;
  view_position: string;
  file: string | null;
  status: 'analysed' | 'not_analysed';
  reason_code: string | null;
  reason: string | null;
  model: string | null;
  looked_for: { name: string; meaning: string }[];
  findings: Finding[];
}

export interface Prior {
  study_instance_uid: string;
  study_date: string;
  study_time: string;
  description: string;
  images: number;
  url: string;
}

export interface Review {
  id: number;
  kind: string;
  reviewer: string;
  created_at: number;
  note: string;
  [other: string]: unknown;
}

export interface Study {
  study_instance_uid: string;
  version: number;
  state: string;
  patient: { name: string; id: string; birth_date: string; sex: string };
  study_date: string;
  description: string;
  flagged: boolean;
  withheld: boolean;
  images: StudyImage[];
  priors: Prior[];
  reviews: Review[];
  report: {
    version: number;
    created_at: number;
    verified: boolean;
    deliveries: { pacs: string; state: string }[];
  } | null;
  may_review: boolean;
  vocabulary: { name: string; meaning: string }[];
}

export interface HeatMap {
  grid: number;
  values: number[];
  placement: {
    rows: number;
    columns: number;
    top: number;
    left: number;
    scale: number;
    side: number;
  };
}

export type Answer = 'agree' | 'disagree' | 'unsure';
