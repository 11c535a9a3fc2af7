-- What becomes of datasets, and of each notification the platform sends: values in typed columns, nothing lost, and what is
-- not a dataset refused.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/prelude.psql

\set person '''5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5'''
\set track '''c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d'''
\set crash '''f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47'''

CREATE FUNCTION pg_temp.note(event text, object uuid, sent text, details jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('Event', event, 'UserId', '5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5', 'Timestamp', sent,
        'Object', jsonb_build_object('Id', object), 'Details', details)
$$;

-- Documents as the platform sends them; places and tokens are invented
CREATE TEMP TABLE sample (name text, kind text, document jsonb);
INSERT INTO sample VALUES
    ('processed 1', 'processed', '{"Result": {"Track": {"StartDate": "2024-05-14T17:42:10+02:00", "EndDate": "2024-05-14T17:57:58+02:00", "Status": "Active", "Distance": 8.412, "Duration": 15.8, "AccelerationCount": 1, "DecelerationCount": 1, "AddressStart": "Example Street 1, Exampletown, Example County, Exampleland", "AddressEnd": "Sample Road 22, Exampletown, Example County, Exampleland", "AddressStartParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Example Street", "House": "1", "PostalCode": "00001"}, "AddressFinishParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Sample Road", "House": "22", "PostalCode": "00002"}, "CityStart": "Exampletown", "CityFinish": "Exampletown", "Rating": 3.0, "RatingCornering": 4, "RatingAcceleration": 2, "RatingBraking": 2, "RatingSpeeding": 3, "RatingPhoneUsage": 4, "RatingTimeOfDay": 5, "Rating100": 64, "RatingCornering100": 85, "RatingAcceleration100": 45, "RatingBraking100": 45, "RatingSpeeding100": 61, "RatingPhoneDistraction100": 88, "PhoneUsage": 0.45, "MidOverSpeedMileage": 0.152, "HighOverSpeedMileage": 0.143, "EcoScore": 88, "EcoScoreFuel": 83, "EcoScoreTyres": 94, "EcoScoreBrakes": 91, "EcoScoreDepreciation": 90, "TrackOriginCode": "OriginalDriver", "OriginChanged": false, "ShareType": "NotShared", "DrivingTips": "Safety score 64. Points were lost here:\r\n- strong acceleration, 2.92 m/s2, 17:42:23\r\n- strong braking, -3.41 m/s2, 17:42:45", "BeaconId": 0, "Points": [
    {"Id": 6700000100, "Number": 12, "PointDate": "2024-05-14T17:42:10+02:00", "Latitude": 51.96021, "Longitude": 7.62671, "TotalMeters": 64.118207, "Speed": 7.415999889373779, "MidSpeed": 2.059999942779541, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 58.20000076293945, "Yaw": -2.214068, "Height": 62340},
    {"Id": 6700000101, "Number": 12, "PointDate": "2024-05-14T17:42:10+02:00", "Latitude": 51.96034, "Longitude": 7.62693, "TotalMeters": 64.118207, "Speed": 7.415999889373779, "MidSpeed": 0, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 0, "Yaw": 0, "Height": 0},
    {"Id": 6700000102, "Number": 19, "PointDate": "2024-05-14T17:42:17+02:00", "Latitude": 51.96064, "Longitude": 7.62745, "TotalMeters": 129.770614, "Speed": 35.53200149536133, "MidSpeed": 9.869999885559082, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 59.099998474121094, "Yaw": -0.873315, "Height": 62410},
    {"Id": 6700000103, "Number": 25, "PointDate": "2024-05-14T17:42:23+02:00", "Latitude": 51.96103, "Longitude": 7.62812, "TotalMeters": 193.410258, "Speed": 44.316001892089844, "MidSpeed": 12.3100004196167, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "acc", "AlertValue": 2.9184770584106445, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 61.400001525878906, "Yaw": 2.905117, "Height": 62500},
    {"Id": 6700000104, "Number": 25, "PointDate": "2024-05-14T17:42:23+02:00", "Latitude": 51.96119, "Longitude": 7.6285, "TotalMeters": 193.410258, "Speed": 44.316001892089844, "MidSpeed": 0, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 0, "Yaw": 0, "Height": 0},
    {"Id": 6700000105, "Number": 25, "PointDate": "2024-05-14T17:42:23+02:00", "Latitude": 51.96131, "Longitude": 7.62902, "TotalMeters": 193.410258, "Speed": 44.316001892089844, "MidSpeed": 0, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 0, "Yaw": 0, "Height": 0},
    {"Id": 6700000106, "Number": 34, "PointDate": "2024-05-14T17:42:32+02:00", "Latitude": 51.96158, "Longitude": 7.6299, "TotalMeters": 346.033871, "Speed": 68.11199951171875, "MidSpeed": 18.920000076293945, "SpeedLimit": 50, "SpeedType": "mid", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": true, "Lateral": 0, "Course": 77.9000015258789, "Yaw": 8.412206, "Height": 62480},
    {"Id": 6700000107, "Number": 41, "PointDate": "2024-05-14T17:42:39+02:00", "Latitude": 51.96121, "Longitude": 7.63164, "TotalMeters": 489.902117, "Speed": 76.21199798583984, "MidSpeed": 21.170000076293945, "SpeedLimit": 50, "SpeedType": "high", "AlertType": "", "AlertValue": 0, "Cornering": true, "PhoneUsage": false, "Lateral": 0, "Course": 121.4000015258789, "Yaw": 30.118842, "Height": 61990},
    {"Id": 6700000108, "Number": 41, "PointDate": "2024-05-14T17:42:39+02:00", "Latitude": 51.96103, "Longitude": 7.63201, "TotalMeters": 489.902117, "Speed": 76.21199798583984, "MidSpeed": 0, "SpeedLimit": 30, "SpeedType": "high", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 0, "Yaw": 0, "Height": 0},
    {"Id": 6700000109, "Number": 47, "PointDate": "2024-05-14T17:42:45+02:00", "Latitude": 51.96077, "Longitude": 7.63247, "TotalMeters": 571.440926, "Speed": 35.56800079345703, "MidSpeed": 9.880000114440918, "SpeedLimit": 30, "SpeedType": "norm", "AlertType": "deacc", "AlertValue": -3.4120635986328125, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 128.0, "Yaw": 38.770163, "Height": 61875},
    {"Id": 6700000110, "Number": 61, "PointDate": "2024-05-14T17:42:59+02:00", "Latitude": 51.96066, "Longitude": 7.63269, "TotalMeters": 601.4, "Speed": 0.0, "MidSpeed": 0.0, "SpeedLimit": 999, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 127.30000305175781, "Yaw": 41.112103, "Height": 61850}]}, "Code": 200}}'),
    ('processed 2', 'processed', '{"Result": {"Track": {"StartDate": "2024-05-14T17:42:10+02:00", "EndDate": "2024-05-14T17:57:58+02:00", "Status": "Active", "Distance": 8.412, "Duration": 15.8, "AccelerationCount": 1, "DecelerationCount": 1, "AddressStart": "Example Street 1, Exampletown, Example County, Exampleland", "AddressEnd": "Sample Road 22, Exampletown, Example County, Exampleland", "AddressStartParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Example Street", "House": "1", "PostalCode": "00001"}, "AddressFinishParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Sample Road", "House": "22", "PostalCode": "00002"}, "Rating": 3.0, "RatingCornering": 4, "RatingAcceleration": 2, "RatingBraking": 2, "RatingSpeeding": 3, "RatingPhoneUsage": 4, "RatingTimeOfDay": 5, "Rating100": 64, "RatingCornering100": 85, "RatingAcceleration100": 45, "RatingBraking100": 45, "RatingSpeeding100": 61, "RatingPhoneDistraction100": 88, "PhoneUsage": 0.45, "MidOverSpeedMileage": 0.152, "HighOverSpeedMileage": 0.143, "EcoScore": 88, "EcoScoreFuel": 83, "EcoScoreTyres": 94, "EcoScoreBrakes": 91, "EcoScoreDepreciation": 90, "TrackOriginCode": "Passanger", "OriginChanged": true, "ShareType": "NotShared", "DrivingTips": null, "Points": [
    {"Id": 6700000100, "Number": 12, "PointDate": "2024-05-14T17:42:10+02:00", "Latitude": 51.96021, "Longitude": 7.62671, "TotalMeters": 64.118207, "Speed": 7.415999889373779, "MidSpeed": 2.059999942779541, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 58.20000076293945, "Yaw": -2.214068, "Height": 62340},
    {"Id": 6700000102, "Number": 19, "PointDate": "2024-05-14T17:42:17+02:00", "Latitude": 51.96064, "Longitude": 7.62745, "TotalMeters": 129.770614, "Speed": 35.53200149536133, "MidSpeed": 9.869999885559082, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 59.099998474121094, "Yaw": -0.873315, "Height": 62410},
    {"Id": 6700000103, "Number": 25, "PointDate": "2024-05-14T17:42:23+02:00", "Latitude": 51.96103, "Longitude": 7.62812, "TotalMeters": 193.410258, "Speed": 44.316001892089844, "MidSpeed": 12.3100004196167, "SpeedLimit": 50, "SpeedType": "norm", "AlertType": "acc", "AlertValue": 2.9184770584106445, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 61.400001525878906, "Yaw": 2.905117, "Height": 62500},
    {"Id": 6700000106, "Number": 34, "PointDate": "2024-05-14T17:42:32+02:00", "Latitude": 51.96158, "Longitude": 7.6299, "TotalMeters": 346.033871, "Speed": 68.11199951171875, "MidSpeed": 18.920000076293945, "SpeedLimit": 50, "SpeedType": "mid", "AlertType": "", "AlertValue": 0, "Cornering": false, "PhoneUsage": true, "Lateral": 0, "Course": 77.9000015258789, "Yaw": 8.412206, "Height": 62480},
    {"Id": 6700000107, "Number": 41, "PointDate": "2024-05-14T17:42:39+02:00", "Latitude": 51.96121, "Longitude": 7.63164, "TotalMeters": 489.902117, "Speed": 76.21199798583984, "MidSpeed": 21.170000076293945, "SpeedLimit": 50, "SpeedType": "high", "AlertType": "", "AlertValue": 0, "Cornering": true, "PhoneUsage": false, "Lateral": 0, "Course": 121.4000015258789, "Yaw": 30.118842, "Height": 61990},
    {"Id": 6700000109, "Number": 47, "PointDate": "2024-05-14T17:42:45+02:00", "Latitude": 51.96077, "Longitude": 7.63247, "TotalMeters": 571.440926, "Speed": 35.56800079345703, "MidSpeed": 9.880000114440918, "SpeedLimit": 30, "SpeedType": "norm", "AlertType": "deacc", "AlertValue": -3.4120635986328125, "Cornering": false, "PhoneUsage": false, "Lateral": 0, "Course": 128.0, "Yaw": 38.770163, "Height": 61875}], "Tags": [{"Tag": "Business", "Source": "CustomerApp", "Type": "TrackTag"}], "RatingTimeOfDay100": 100}, "Code": 200}}'),
    ('raw 1', 'raw', '{"Track": {"StartDate": "2024-05-14T17:42:10+0200", "EndDate": "2024-05-14T17:57:58+0200", "Points": [
    {"Number": 0, "TotalMeters": 0.0, "Speed": 0.0, "MidSpeed": 0.0, "PointDate": "2024-05-14T17:42:10+0200", "TickTimestamp": 1715701330, "Latitude": 51.960013, "Longitude": 7.626135, "Height": 62000.0, "Course": 58.20000076293945, "Yaw": 0.0, "Lateral": 0, "Acceleration": 0.0, "Deceleration": 0.0, "AccelerationX": 0.0, "AccelerationY": 0.0, "AccelerationZ": 9.80112, "GyroscopeX": 0.0012, "GyroscopeY": -0.0007, "GyroscopeZ": 0.0, "AccelerationXOriginal": -1.2, "AccelerationYOriginal": 2.1, "AccelerationZOriginal": 9.531500244140625, "GyroscopeXOriginal": 0.0009, "GyroscopeYOriginal": -0.0011, "GyroscopeZOriginal": 0.0, "Accuracy": 12.4, "EstablishedIndexA": false, "EstablishedIndexB": false, "DeviceBlocked": true, "ScreenOn": false, "VehicleIndicators": null, "Quantile": {"AccelerationX": {"Min": -0.42, "Max": 0.462, "Median": 0.0, "Quantile_95": 0.336, "Quantile_05": -0.315}, "AccelerationY": {"Min": -0.36, "Max": 0.396, "Median": 0.0, "Quantile_95": 0.288, "Quantile_05": -0.27}, "AccelerationZ": {"Min": 9.2, "Max": 10.46, "Median": 9.8, "Quantile_95": 10.28, "Quantile_05": 9.35}, "GyroscopeX": {"Min": -0.0188, "Max": 0.0232, "Median": 0.0012, "Quantile_95": 0.0172, "Quantile_05": -0.0138}, "GyroscopeY": {"Min": -0.0207, "Max": 0.0213, "Median": -0.0007, "Quantile_95": 0.0153, "Quantile_05": -0.0157}, "GyroscopeZ": {"Min": -0.024, "Max": 0.0264, "Median": 0.0, "Quantile_95": 0.0192, "Quantile_05": -0.018}}},
    {"Number": 1, "TotalMeters": 1.31, "Speed": 4.716000080108643, "MidSpeed": 1.309999942779541, "PointDate": "2024-05-14T17:42:11+0200", "TickTimestamp": 1715701331, "Latitude": 51.9600194, "Longitude": 7.6261494, "Height": 62120.0, "Course": 58.900001525878906, "Yaw": 0.41, "Lateral": 0, "Acceleration": 1.31, "Deceleration": 0, "AccelerationX": 1.31, "AccelerationY": 0.05, "AccelerationZ": 9.80112, "GyroscopeX": 0.0012, "GyroscopeY": -0.0007, "GyroscopeZ": 0.003, "AccelerationXOriginal": -0.283, "AccelerationYOriginal": 2.886, "AccelerationZOriginal": 9.531500244140625, "GyroscopeXOriginal": 0.0009, "GyroscopeYOriginal": -0.0011, "GyroscopeZOriginal": 0.0031, "Accuracy": 4.8, "EstablishedIndexA": false, "EstablishedIndexB": false, "DeviceBlocked": true, "ScreenOn": false, "VehicleIndicators": null, "Quantile": {"AccelerationX": {"Min": 0.89, "Max": 1.772, "Median": 1.31, "Quantile_95": 1.646, "Quantile_05": 0.995}, "AccelerationY": {"Min": -0.31, "Max": 0.446, "Median": 0.05, "Quantile_95": 0.338, "Quantile_05": -0.22}, "AccelerationZ": {"Min": 9.2, "Max": 10.46, "Median": 9.8, "Quantile_95": 10.28, "Quantile_05": 9.35}, "GyroscopeX": {"Min": -0.0188, "Max": 0.0232, "Median": 0.0012, "Quantile_95": 0.0172, "Quantile_05": -0.0138}, "GyroscopeY": {"Min": -0.0207, "Max": 0.0213, "Median": -0.0007, "Quantile_95": 0.0153, "Quantile_05": -0.0157}, "GyroscopeZ": {"Min": -0.021, "Max": 0.0294, "Median": 0.003, "Quantile_95": 0.0222, "Quantile_05": -0.015}}},
    {"Number": 2, "TotalMeters": 4.33, "Speed": 10.871999740600586, "MidSpeed": 3.0199999809265137, "PointDate": "2024-05-14T17:42:12+0200", "TickTimestamp": 1715701332, "Latitude": 51.9600342, "Longitude": 7.6261826, "Height": 62240.0, "Course": 59.599998474121094, "Yaw": 0.82, "Lateral": 0, "Acceleration": 1.71, "Deceleration": 0, "AccelerationX": 1.71, "AccelerationY": 0.1, "AccelerationZ": 9.80112, "GyroscopeX": 0.0012, "GyroscopeY": -0.0007, "GyroscopeZ": 0.006, "AccelerationXOriginal": -0.003, "AccelerationYOriginal": 3.126, "AccelerationZOriginal": 9.531500244140625, "GyroscopeXOriginal": 0.0009, "GyroscopeYOriginal": -0.0011, "GyroscopeZOriginal": 0.0062, "Accuracy": 4.8, "EstablishedIndexA": true, "EstablishedIndexB": false, "DeviceBlocked": true, "ScreenOn": false, "VehicleIndicators": null, "Quantile": {"AccelerationX": {"Min": 1.29, "Max": 2.172, "Median": 1.71, "Quantile_95": 2.046, "Quantile_05": 1.395}, "AccelerationY": {"Min": -0.26, "Max": 0.496, "Median": 0.1, "Quantile_95": 0.388, "Quantile_05": -0.17}, "AccelerationZ": {"Min": 9.2, "Max": 10.46, "Median": 9.8, "Quantile_95": 10.28, "Quantile_05": 9.35}, "GyroscopeX": {"Min": -0.0188, "Max": 0.0232, "Median": 0.0012, "Quantile_95": 0.0172, "Quantile_05": -0.0138}, "GyroscopeY": {"Min": -0.0207, "Max": 0.0213, "Median": -0.0007, "Quantile_95": 0.0153, "Quantile_05": -0.0157}, "GyroscopeZ": {"Min": -0.018, "Max": 0.0324, "Median": 0.006, "Quantile_95": 0.0252, "Quantile_05": -0.012}}}], "LastKnownPoints": [{"Latitude": 51.9599811, "Longitude": 7.6261002, "Accuracy": 19.4400005, "PointDate": "2024-05-14T17:41:55+0200", "PointOrigin": "Track"}, {"Latitude": 51.9599904, "Longitude": 7.6261155, "Accuracy": 14.2, "PointDate": "2024-05-14T17:42:00+0200", "PointOrigin": "Track"}], "Events": [
    {"Id": "0B7C6D5E-4F3A-4B2C-9D1E-8F7A6B5C4D3E", "Type": "Braking", "AccidentTrigger": "NOT_DEFINED", "Reliability": 71.25, "TimeStart": 1715701335200, "Duration": 1823.0, "PureDuration": 162.0, "SpeedStart": 9.12, "SpeedStop": 5.05, "SpeedMedian": 8.2, "PrevEventSpeed": 7.77, "AccelerationLateral": -0.210554, "AccelerationDirect": -3.081442, "AccelerationVertical": 9.571208, "AccelerationLateralEnd": 0.041926, "AccelerationDirectEnd": -0.598713, "AccelerationVerticalEnd": 9.802166, "PointStart": {"Latitude": 51.9601877, "Longitude": 7.6265277}, "PointEnd": {"Latitude": 51.9602526, "Longitude": 7.6266735}, "RangeDirect": {"Min": -4.0318, "Max": 0.3722, "Median": -2.0441, "Quantile_95": -0.4119, "Quantile_05": -3.8806}, "RangeVertical": {"Min": 8.1144, "Max": 11.4027, "Median": 9.8012, "Quantile_95": 10.3318, "Quantile_05": 9.3071}, "RangeLateral": {"Min": -1.0846, "Max": 0.8732, "Median": -0.0511, "Quantile_95": 0.3927, "Quantile_05": -0.5904}, "Accuracy": {"Min": 4.4, "Max": 5.2, "Median": 4.8, "Quantile_95": 5.2, "Quantile_05": 4.4}, "Speed": {"Min": 5.05, "Max": 9.12, "Median": 8.2, "Quantile_95": 9.12, "Quantile_05": 5.05}},
    {"Id": "1C8D7E6F-5A4B-4C3D-8E2F-9A8B7C6D5E4F", "Type": "Cornering", "AccidentTrigger": "NOT_DEFINED", "Reliability": -1.0, "TimeStart": 1715701336100, "Duration": 943.0, "PureDuration": 48.0, "SpeedStart": 9.12, "SpeedStop": 5.05, "SpeedMedian": 8.2, "PrevEventSpeed": 7.77, "AccelerationLateral": -0.210554, "AccelerationDirect": -3.081442, "AccelerationVertical": 9.571208, "AccelerationLateralEnd": 0.041926, "AccelerationDirectEnd": -0.598713, "AccelerationVerticalEnd": 9.802166, "PointStart": {"Latitude": 51.9601877, "Longitude": 7.6265277}, "PointEnd": {"Latitude": 51.9602526, "Longitude": 7.6266735}, "RangeDirect": {"Min": -4.0318, "Max": 0.3722, "Median": -2.0441, "Quantile_95": -0.4119, "Quantile_05": -3.8806}, "RangeVertical": {"Min": 8.1144, "Max": 11.4027, "Median": 9.8012, "Quantile_95": 10.3318, "Quantile_05": 9.3071}, "RangeLateral": {"Min": -1.0846, "Max": 0.8732, "Median": -0.0511, "Quantile_95": 0.3927, "Quantile_05": -0.5904}, "Accuracy": {"Min": 4.4, "Max": 5.2, "Median": 4.8, "Quantile_95": 5.2, "Quantile_05": 4.4}, "Speed": {"Min": 5.05, "Max": 9.12, "Median": 8.2, "Quantile_95": 9.12, "Quantile_05": 5.05}}], "StartReason": "MotionDetected", "StopReason": "LowSpeedTimeout", "DeviceToken": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "CompanyId": 4711, "TrackToken": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}}'),
    ('raw 2', 'raw', '{"success": true, "status_code": 200, "message": "Trip points returned", "result": {"TrackToken": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "S3Location": {"S3Url": "https://s3.amazonaws.com", "Bucket": "trip-incoming-example", "Key": "trips/filtered/7e1f2a3b4c5d4e6f9a0b1c2d3e4f5a6b/5b0c7d1e2f344a568b79c0d1e2f3a4b5/c4a8f0d26b134e579d283f5e7a9b1c0d.json"}, "TripData": {"Tags": [], "TrackToken": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "StartDate": "2024-05-14T17:42:10+0200", "EndDate": "2024-05-14T17:57:58+0200", "DeviceToken": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b", "StartReason": "MotionDetected", "StopReason": "LowSpeedTimeout", "Points": [
    {"Number": 1, "TotalMeters": 1.31, "Speed": 4.716000080108643, "MidSpeed": 1.309999942779541, "PointDate": "2024-05-14T17:42:11+0200", "TickTimestamp": 1715701331, "Latitude": 51.9600194, "Longitude": 7.6261494, "Height": 62120.0, "Course": 58.900001525878906, "Yaw": 0.41, "Lateral": 0, "Acceleration": 1.31, "Deceleration": 0, "AccelerationX": 1.31, "AccelerationY": 0.05, "AccelerationZ": 9.80112, "GyroscopeX": 0.0012, "GyroscopeY": -0.0007, "GyroscopeZ": 0.003, "AccelerationXOriginal": -0.283, "AccelerationYOriginal": 2.886, "AccelerationZOriginal": 9.531500244140625, "GyroscopeXOriginal": 0.0009, "GyroscopeYOriginal": -0.0011, "GyroscopeZOriginal": 0.0031, "Accuracy": 4.8, "EstablishedIndexA": false, "EstablishedIndexB": false, "DeviceBlocked": true, "ScreenOn": false, "VehicleIndicators": null, "Quantile": {"AccelerationX": {"Min": 0.89, "Max": 1.772, "Median": 1.31, "Quantile_95": 1.646, "Quantile_05": 0.995}, "AccelerationY": {"Min": -0.31, "Max": 0.446, "Median": 0.05, "Quantile_95": 0.338, "Quantile_05": -0.22}, "AccelerationZ": {"Min": 9.2, "Max": 10.46, "Median": 9.8, "Quantile_95": 10.28, "Quantile_05": 9.35}, "GyroscopeX": {"Min": -0.0188, "Max": 0.0232, "Median": 0.0012, "Quantile_95": 0.0172, "Quantile_05": -0.0138}, "GyroscopeY": {"Min": -0.0207, "Max": 0.0213, "Median": -0.0007, "Quantile_95": 0.0153, "Quantile_05": -0.0157}, "GyroscopeZ": {"Min": -0.021, "Max": 0.0294, "Median": 0.003, "Quantile_95": 0.0222, "Quantile_05": -0.015}}},
    {"Number": 2, "TotalMeters": 4.33, "Speed": 10.871999740600586, "MidSpeed": 3.0199999809265137, "PointDate": "2024-05-14T17:42:12+0200", "TickTimestamp": 1715701332, "Latitude": 51.9600342, "Longitude": 7.6261826, "Height": 62240.0, "Course": 59.599998474121094, "Yaw": 0.82, "Lateral": 0, "Acceleration": 1.71, "Deceleration": 0, "AccelerationX": 1.71, "AccelerationY": 0.1, "AccelerationZ": 9.80112, "GyroscopeX": 0.0012, "GyroscopeY": -0.0007, "GyroscopeZ": 0.006, "AccelerationXOriginal": -0.003, "AccelerationYOriginal": 3.126, "AccelerationZOriginal": 9.531500244140625, "GyroscopeXOriginal": 0.0009, "GyroscopeYOriginal": -0.0011, "GyroscopeZOriginal": 0.0062, "Accuracy": 4.8, "EstablishedIndexA": true, "EstablishedIndexB": false, "DeviceBlocked": true, "ScreenOn": false, "VehicleIndicators": null, "Quantile": {"AccelerationX": {"Min": 1.29, "Max": 2.172, "Median": 1.71, "Quantile_95": 2.046, "Quantile_05": 1.395}, "AccelerationY": {"Min": -0.26, "Max": 0.496, "Median": 0.1, "Quantile_95": 0.388, "Quantile_05": -0.17}, "AccelerationZ": {"Min": 9.2, "Max": 10.46, "Median": 9.8, "Quantile_95": 10.28, "Quantile_05": 9.35}, "GyroscopeX": {"Min": -0.0188, "Max": 0.0232, "Median": 0.0012, "Quantile_95": 0.0172, "Quantile_05": -0.0138}, "GyroscopeY": {"Min": -0.0207, "Max": 0.0213, "Median": -0.0007, "Quantile_95": 0.0153, "Quantile_05": -0.0157}, "GyroscopeZ": {"Min": -0.018, "Max": 0.0324, "Median": 0.006, "Quantile_95": 0.0252, "Quantile_05": -0.012}}}]}}, "error": null}'),
    ('raw removed', 'raw', '{"Track": {"StartDate": "2024-05-14T17:59:12+0200", "EndDate": "2024-05-14T18:03:40+0200", "Points": [], "LastKnownPoints": [], "Events": [], "StartReason": "MotionDetected", "StopReason": "LowSpeedTimeout", "DeviceToken": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "CompanyId": 4711}}'),
    ('crash', 'crash', '{"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident", "AccidentTrigger": "ACCELERATION_LOW_SPEED_THRESHOLD", "Reliability": 61.0412750244141, "TimeStart": 1715701858420, "Duration": 9874, "PureDuration": 2712.64599609375, "SpeedStart": 13.4721, "SpeedStop": 0.2114, "SpeedMedian": 6.2217, "AccelerationLateral": -0.210554, "AccelerationDirect": -3.081442, "AccelerationVertical": 9.571208, "AccelerationLateralEnd": 0.041926, "AccelerationDirectEnd": -0.598713, "AccelerationVerticalEnd": 9.802166, "PointStart": {"Latitude": 51.9601877, "Longitude": 7.6265277}, "PointEnd": {"Latitude": 51.9602526, "Longitude": 7.6266735}, "RangeDirect": {"Min": -46.2003, "Max": 11.0218, "Median": 0.0342, "Quantile_95": 2.1107, "Quantile_05": -2.3041}, "RangeVertical": {"Min": 8.1144, "Max": 11.4027, "Median": 9.8012, "Quantile_95": 10.3318, "Quantile_05": 9.3071}, "RangeLateral": {"Min": -1.0846, "Max": 0.8732, "Median": -0.0511, "Quantile_95": 0.3927, "Quantile_05": -0.5904}, "Accuracy": {"Min": 4.4, "Max": 5.2, "Median": 4.8, "Quantile_95": 5.2, "Quantile_05": 4.4}, "Speed": {"Min": 0, "Max": 13.5057, "Median": 6.2217, "Quantile_95": 13.4837, "Quantile_05": 0}}'),
    ('crash_buffer', 'crash_buffer', '{"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "TimeStart": 1715701853420, "Frequency": 100, "Samples": [
    {"Index": 0, "Time": 1715701858360, "AccelerationX": -0.3057, "AccelerationY": 0.001, "AccelerationZ": 9.8015, "GyroscopeX": 0.0001, "GyroscopeY": -0.0002, "GyroscopeZ": 0.0, "GpsSpeed": 13.5},
    {"Index": 1, "Time": 1715701858370, "AccelerationX": -0.3392, "AccelerationY": 0.0153, "AccelerationZ": 9.8239, "GyroscopeX": 0.0015, "GyroscopeY": -0.0037, "GyroscopeZ": 0.0006, "GpsSpeed": 13.5},
    {"Index": 2, "Time": 1715701858380, "AccelerationX": -1.0462, "AccelerationY": 0.1447, "AccelerationZ": 10.0271, "GyroscopeX": 0.0147, "GyroscopeY": -0.0348, "GyroscopeZ": 0.0055, "GpsSpeed": 13.5},
    {"Index": 3, "Time": 1715701858390, "AccelerationX": -5.0194, "AccelerationY": 0.8327, "AccelerationZ": 11.107, "GyroscopeX": 0.0843, "GyroscopeY": -0.2003, "GyroscopeZ": 0.0316, "GpsSpeed": 13.5},
    {"Index": 4, "Time": 1715701858400, "AccelerationX": -17.096, "AccelerationY": 2.9062, "AccelerationZ": 14.3617, "GyroscopeX": 0.2943, "GyroscopeY": -0.699, "GyroscopeZ": 0.1104, "GpsSpeed": 13.5},
    {"Index": 5, "Time": 1715701858410, "AccelerationX": -36.0306, "AccelerationY": 6.1525, "AccelerationZ": 19.4571, "GyroscopeX": 0.623, "GyroscopeY": -1.4797, "GyroscopeZ": 0.2336, "GpsSpeed": 13.5},
    {"Index": 6, "Time": 1715701858420, "AccelerationX": -46.2, "AccelerationY": 7.9, "AccelerationZ": 22.2, "GyroscopeX": 0.8, "GyroscopeY": -1.9, "GyroscopeZ": 0.3, "GpsSpeed": 13.5},
    {"Index": 7, "Time": 1715701858430, "AccelerationX": -35.9306, "AccelerationY": 6.1525, "AccelerationZ": 19.4571, "GyroscopeX": 0.623, "GyroscopeY": -1.4797, "GyroscopeZ": 0.2336, "GpsSpeed": 12.18},
    {"Index": 8, "Time": 1715701858440, "AccelerationX": -16.896, "AccelerationY": 2.9062, "AccelerationZ": 14.3617, "GyroscopeX": 0.2943, "GyroscopeY": -0.699, "GyroscopeZ": 0.1104, "GpsSpeed": 10.86},
    {"Index": 9, "Time": 1715701858450, "AccelerationX": -4.7194, "AccelerationY": 0.8327, "AccelerationZ": 11.107, "GyroscopeX": 0.0843, "GyroscopeY": -0.2003, "GyroscopeZ": 0.0316, "GpsSpeed": 9.54},
    {"Index": 10, "Time": 1715701858460, "AccelerationX": -0.6462, "AccelerationY": 0.1447, "AccelerationZ": 10.0271, "GyroscopeX": 0.0147, "GyroscopeY": -0.0348, "GyroscopeZ": 0.0055, "GpsSpeed": 8.22},
    {"Index": 11, "Time": 1715701858470, "AccelerationX": 0.1608, "AccelerationY": 0.0153, "AccelerationZ": 9.8239, "GyroscopeX": 0.0015, "GyroscopeY": -0.0037, "GyroscopeZ": 0.0006, "GpsSpeed": 6.9},
    {"Index": 12, "Time": 1715701858480, "AccelerationX": 0.2943, "AccelerationY": 0.001, "AccelerationZ": 9.8015, "GyroscopeX": 0.0001, "GyroscopeY": -0.0002, "GyroscopeZ": 0.0, "GpsSpeed": 5.58},
    {"Index": 13, "Time": 1715701858490, "AccelerationX": 0.3498, "AccelerationY": 0.0, "AccelerationZ": 9.8001, "GyroscopeX": 0.0, "GyroscopeY": -0.0, "GyroscopeZ": 0.0, "GpsSpeed": 4.26}]}');
CREATE FUNCTION pg_temp.store(name text) RETURNS bigint LANGUAGE sql AS $$
    SELECT damoov.store_dataset(s.kind,
        CASE WHEN s.kind LIKE 'crash%' THEN 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47' ELSE 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d' END::uuid, s.document::text)
    FROM pg_temp.sample AS s WHERE s.name = store.name
$$;
SELECT pg_temp.empty_tables();
SELECT outcome FROM damoov_ingest(jsonb_build_array(
    pg_temp.note('IncomingTrackReceived', :track, '2024-05-14T16:00:00Z'),
    pg_temp.note('TrackEnrichmentFinished', :track, '2024-05-14T16:01:00Z'),
    pg_temp.note('AccidentEventReceived', :crash, '2024-05-14T16:00:00Z')));

-- ---------------------------------------------------------------------
-- Processed tracks
-- ---------------------------------------------------------------------

SELECT pg_temp.store('processed 1') IS NOT NULL AS stored;
SELECT key, value FROM damoov.trips AS t, jsonb_each(jsonb_strip_nulls(to_jsonb(t) - '{trip_id,user_id,stored_at}'::text[])) ORDER BY key COLLATE "C";
SELECT seq, number, recorded_at, total_meters, speed_kmh, mid_speed_ms, speed_limit_kmh AS speed_limit, speed_type AS type, alert_type AS alert,
    alert_value_ms2, cornering, phone_usage AS phone, course_deg, yaw_deg, height_mm, is_filler AS filler, extra
FROM damoov.trip_points ORDER BY seq;
SELECT seq, kind, first_seq, last_seq, started_at, ended_at, length_m, peak_ms2, max_speed_kmh, max_excess_kmh FROM damoov.trip_events ORDER BY seq;
CREATE TEMP TABLE first AS SELECT trip_id, NULL::bigint AS raw_track_id FROM damoov.trips;

-- the second revision: the same trip_id, the rows of the first gone
SELECT outcome FROM damoov_ingest(pg_temp.note('TrackEnrichmentFinished', :track, '2024-05-14T16:02:00Z'));
SELECT pg_temp.store('processed 2') = (SELECT trip_id FROM first) AS same_trip;
SELECT t.trip_id = f.trip_id AS same_trip, t.revision, t.origin, t.origin_changed, t.driving_tips, t.city_start, t.score_time_of_day, t.tags, t.point_count, t.filler_count,
    (SELECT count(*) FROM damoov.trip_points) AS points
FROM damoov.trips AS t, first AS f;

-- ---------------------------------------------------------------------
-- Raw tracks
-- ---------------------------------------------------------------------

SELECT pg_temp.store('raw 1') IS NOT NULL AS stored;
UPDATE first SET raw_track_id = t.raw_track_id FROM damoov.raw_tracks AS t;
SELECT key, value FROM damoov.raw_tracks AS t, jsonb_each(jsonb_strip_nulls(to_jsonb(t) - '{raw_track_id,user_id,stored_at}'::text[])) ORDER BY key COLLATE "C";
SELECT key, value FROM damoov.raw_points AS p, jsonb_each(to_jsonb(p) - 'raw_track_id') WHERE seq = 1 ORDER BY key COLLATE "C";
SELECT key, value FROM damoov.raw_events AS e, jsonb_each(to_jsonb(e) - 'raw_track_id') WHERE seq = 0 ORDER BY key COLLATE "C";

SELECT pg_temp.store('raw 2') = (SELECT raw_track_id FROM first) AS same_track;
SELECT format, company_id, instance_id, s3_url, s3_bucket, s3_key, tags, point_count, event_count, notes, extra FROM damoov.raw_tracks;
SELECT (SELECT count(*) FROM damoov.raw_points) AS points, (SELECT count(*) FROM damoov.raw_events) AS events;
-- other names of the same
SELECT damoov.store_dataset('raw', :track, '{"Track": {"CompanyID": 5, "WayPoints": [{"Number": 7, "EstablishedIndexA": 0.5, "EstablishedIndexB": true, "TickTimestamp": 0}],
    "Events": [{"startPoint": {"Latitude": 1, "Longitude": 2}, "endPoint": {"Latitude": 3, "Longitude": 4}, "TimeStart": 0}]}}') = (SELECT raw_track_id FROM first) AS same_track;
SELECT t.format, t.company_id, p.number, p.established_index_a, p.established_index_b, p.ticked_at, e.start_latitude, e.start_longitude, e.end_latitude, e.end_longitude, e.started_at
FROM damoov.raw_tracks AS t JOIN damoov.raw_points AS p USING (raw_track_id) JOIN damoov.raw_events AS e USING (raw_track_id);
-- without points
SELECT pg_temp.store('raw removed') = (SELECT raw_track_id FROM first) AS same_track;
SELECT format, started_at, start_utc_offset_min, point_count, event_count, notes, extra FROM damoov.raw_tracks;
-- what a user adds to a table changes the way that rows go into it, not the rows: more than a thousand, with arrays
BEGIN;
CREATE FUNCTION pg_temp.many_points(point jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(point || jsonb_build_object('Number', n, 'New', repeat('x', n * 7919 % 700))
        || CASE WHEN point ? 'Quantile' THEN jsonb_build_object('Quantile', jsonb_build_object(
            'AccelerationX', spread, 'AccelerationY', spread - 'Median', 'GyroscopeZ', CASE WHEN n % 3 > 0 THEN spread END)) ELSE '{}' END ORDER BY n)
    FROM generate_series(1, 3500) AS n,
        jsonb_build_object('Min', n - 1.5, 'Quantile_05', n, 'Median', 0.1 * n, 'Quantile_95', repeat('9', 1 + n % 4)::numeric, 'Max', n + 1) AS spread
$$;
CREATE TEMP TABLE large AS
SELECT s.kind, jsonb_set(s.document, p.path, pg_temp.many_points((s.document #> p.path -> 1) || p.more))::text AS document
FROM sample AS s JOIN (VALUES ('raw 1', '{Track,Points}'::text[], '{"Quantile": {}}'::jsonb), ('processed 1', '{Result,Track,Points}', '{}')) AS p (name, path, more) USING (name);
CREATE FUNCTION pg_temp.store_large(OUT raw_points text, OUT trip_points text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM damoov.store_dataset(l.kind, 'c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d', l.document) FROM pg_temp.large AS l;
    SELECT count(*) || ' ' || md5(string_agg(p::text, E'\n' ORDER BY seq)) INTO raw_points FROM damoov.raw_points AS p;
    SELECT count(*) || ' ' || md5(string_agg(p::text, E'\n' ORDER BY seq)) INTO trip_points FROM damoov.trip_points AS p;
END
$$;
CREATE TEMP TABLE plain AS SELECT * FROM pg_temp.store_large();
CREATE FUNCTION pg_temp.as_it_is() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION pg_temp.compare_large(OUT raw_points int, OUT trip_points int, OUT same boolean) LANGUAGE sql AS $$
    SELECT split_part(l.raw_points, ' ', 1)::int, split_part(l.trip_points, ' ', 1)::int, l = p FROM pg_temp.store_large() AS l, pg_temp.plain AS p
$$;
ALTER TABLE damoov.raw_points ADD CONSTRAINT mine CHECK (seq >= 0);
ALTER TABLE damoov.trip_points ADD CONSTRAINT mine CHECK (seq >= 0);
SELECT * FROM pg_temp.compare_large();
ALTER TABLE damoov.raw_points DROP CONSTRAINT mine;
ALTER TABLE damoov.trip_points DROP CONSTRAINT mine;
CREATE TRIGGER mine BEFORE INSERT ON damoov.raw_points FOR EACH ROW EXECUTE FUNCTION pg_temp.as_it_is();
CREATE TRIGGER mine BEFORE INSERT ON damoov.trip_points FOR EACH ROW EXECUTE FUNCTION pg_temp.as_it_is();
SELECT * FROM pg_temp.compare_large();
ROLLBACK;

-- ---------------------------------------------------------------------
-- Crashes
-- ---------------------------------------------------------------------

SELECT pg_temp.store('crash') = (SELECT crash_id FROM damoov.crashes) AS stored;
SELECT pg_temp.store('crash_buffer') = (SELECT crash_id FROM damoov.crashes) AS stored;
SELECT key, value FROM damoov.crashes AS c, jsonb_each(jsonb_strip_nulls(to_jsonb(c) - '{crash_id,user_id,header_stored_at,buffer_stored_at}'::text[])) ORDER BY key COLLATE "C";
SELECT started_at, frequency_hz, sample_count, notes, extra FROM damoov.crash_buffers;
SELECT seq, at_ms, recorded_at, acceleration_x_ms2 AS ax, acceleration_y_ms2 AS ay, acceleration_z_ms2 AS az,
    gyroscope_x_rad_s AS gx, gyroscope_y_rad_s AS gy, gyroscope_z_rad_s AS gz, speed_ms
FROM damoov.crash_samples ORDER BY seq;
SELECT sample_count, peak_at_ms, peak_at, round(peak_acceleration_ms2::numeric, 4) AS peak_ms2, round(delta_v_ms::numeric, 4) AS delta_v_ms, speed_before_ms, speed_after_ms
FROM damoov.crash_summary;

-- the originals, as they came
SELECT d.kind, s.name, d.document = s.document::text AS as_it_came FROM damoov.documents AS d JOIN sample AS s USING (kind)
WHERE d.document = s.document::text ORDER BY d.kind;
-- the rows do not name the person
SELECT count(*) AS named FROM (SELECT t::text AS row FROM damoov.trips AS t UNION ALL SELECT t::text FROM damoov.raw_tracks AS t UNION ALL SELECT t::text FROM damoov.crashes AS t) AS r
WHERE replace(r.row, '-', '') LIKE '%' || replace(:person, '-', '') || '%';

-- The same samples in other spellings; time in other units
CREATE FUNCTION pg_temp.samples_of(document text) RETURNS TABLE (samples jsonb, notes text[], extra jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM damoov.store_dataset('crash_buffer', 'f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47', document);
    RETURN QUERY SELECT
        (SELECT jsonb_agg(jsonb_build_array(s.at_ms, s.acceleration_x_ms2, s.acceleration_y_ms2, s.acceleration_z_ms2, s.gyroscope_x_rad_s, s.speed_ms) ORDER BY s.seq)
            FROM damoov.crash_samples AS s),
        b.notes, b.extra
    FROM damoov.crash_buffers AS b;
END
$$;
SELECT d.n, o.*
FROM (VALUES
    (1, '{"Samples": [{"Time": 0, "AccelerationX": 1, "AccelerationY": 2, "AccelerationZ": 9.8, "GyroscopeX": 0.1, "GpsSpeed": 13.5},
        {"Time": 10, "AccelerationX": 4, "AccelerationY": 5, "AccelerationZ": 9.9, "GyroscopeX": 0.2, "GpsSpeed": 13.6}]}'),
    (2, '{"samples": [{"timestamp": 0, "ACC_X": 1, "acc_y": 2, "accZ": 9.8, "gyro_x": 0.1, "speed": 13.5},
        {"timestamp": 0.01, "ACC_X": 4, "acc_y": 5, "accZ": 9.9, "gyro_x": 0.2, "speed": 13.6}]}'),
    (3, '{"Data": {"Buffer": [{"t": 0, "Acc": {"X": 1, "Y": 2, "Z": 9.8}, "Gyro": {"X": 0.1}, "Velocity": 13.5},
        {"t": 10, "Acc": {"X": 4, "Y": 5, "Z": 9.9}, "Gyro": {"X": 0.2}, "Velocity": 13.6}]}}'),
    (4, '[{"ts": 0, "Accelerometer": [1, 2, 9.8], "g": {"x": 0.1}, "speedms": 13.5}, {"ts": 10000, "Accelerometer": [4, 5, 9.9], "g": {"x": 0.2}, "speedms": 13.6}]'),
    -- arrays side by side must be longer than the axes of one sample
    (5, '{"Time": [0, 10, 20, 30, 40], "AccelerationX": [1, 4, 1, 1, 1], "AccelerationY": [2, 5, 2, 2, 2], "AccelerationZ": [9.8, 9.9, 9.8, 9.8, 9.8],
        "GyroscopeX": [0.1, 0.2, 0.1, 0.1, 0.1], "Speed": [13.5, 13.6, 13.6, 13.6, 13.6]}'),
    (6, '{"AccelerometerData": [{"time": 0, "x": 1, "y": 2, "z": 9.8}, {"time": 10, "x": 4, "y": 5, "z": 9.9}],
        "GyroscopeData": [{"time": 0, "x": 0.1}, {"time": 10, "x": 0.2}]}'),
    (7, '{"Hz": 100, "Samples": [{"ax": 1, "ay": 2, "az": 9.8, "gx": 0.1, "speed": 13.5}, {"ax": 4, "ay": 5, "az": 9.9, "gx": 0.2, "speed": 13.6}]}'),
    (8, '{"Something": {"else": [1, "two"]}}'),
    (9, '[]')
) AS d (n, document), pg_temp.samples_of(d.document) AS o
ORDER BY d.n;
-- What is wrong costs only itself and stays in extra, and what is odd is noted
SELECT d.n, o.*
FROM (VALUES
    (1, '{"id": "00000000-0000-4000-8000-000000000001", "start": "soon", "hz": "100", "Phone": {"Id": 5}, "UserId": null, "Samples": [
        {"t": 0, "Acc": [1, "x", 9.8], "New": []}, {"t": true, "Acc": [2, 20000, 9.9], "speed": -1}, null, {"i": 4, "t": 20, "Acc": [3, 3, 3], "g": {"x": null}}]}'),
    (2, '{"t": [0, 10, "x", 30, 40, 50], "Acc": {"X": [1, 2, 3, 4, 5, 6], "Y": [1, null, 1e9, 1, 1]}, "Index": [1, 2, 3, 4, 5, 6], "Z": [1, 2]}'),
    -- dates, and a start; dates without one; other clocks
    (3, '{"StartTime": "2024-05-14T17:50:53.42+02:00", "Samples": [{"Date": "2024-05-14T15:50:53.43Z", "ax": 1}, {"Date": "2024-05-14T15:50:53.4401234", "ax": 2},
        {"Date": "2024-02-30T00:00:00Z", "ax": 3}, {"Date": "yesterday", "ax": 4}]}'),
    (4, '{"Samples": [{"time": "2024-05-14T15:50:53Z", "ax": 1}, {"time": "2024-05-14T15:50:54Z", "ax": 2}]}'),
    (5, '{"start": 1715701853, "Samples": [{"time": 1715701853.5, "ax": 1}, {"time": 1715701853.51, "ax": 2}]}'),
    (6, '{"Samples": [{"ts": 987654321000, "ax": 1}, {"ts": 987664321000, "ax": 2}]}'),
    -- of two names of one value the shorter one counts, where it has a value
    (7, '{"Samples": [{"t": 0, "ax": 1, "speed": 5, "velocity": 6}, {"t": 10, "ax": 2, "speed": null, "velocity": 7}]}'),
    -- series with clocks of their own; the best one is taken
    (8, '{"GyroscopeData": [{"t": 1, "x": 1}, {"t": 11, "x": 2}], "AccelerometerData": [{"t": 0, "x": 1}, {"t": 10, "x": 2}], "More": [{"t": 0, "ax": 5}]}'),
    -- a value that only some samples have
    (9, (SELECT jsonb_build_object('Samples', jsonb_agg(jsonb_build_object('t', i * 10, 'ax', i) || CASE WHEN i = 11 THEN '{"speed": 1, "New": 2}' ELSE '{}' END::jsonb ORDER BY i))::text
        FROM generate_series(0, 11) AS i))
) AS d (n, document), pg_temp.samples_of(d.document) AS o
ORDER BY d.n;
-- what cannot be squared has no impact, and is stored all the same
SELECT count(*) FROM pg_temp.samples_of('{"Samples": [{"t": 0, "ax": 1e-300, "ay": 0, "az": 0}, {"t": 10, "ax": 3e-300, "ay": 0, "az": 0}]}');
SELECT s.sample_count, s.peak_acceleration_ms2, b.impact IS NULL AS none FROM damoov.crash_summary AS s JOIN damoov.crash_buffers AS b USING (crash_id);
-- too many values, too much, and as deep as can be
SELECT d.what, o.samples, o.notes, length(o.extra::text) AS extra
FROM (VALUES
    ('values', '[' || repeat('1,', 1000000) || '1]'),
    ('much', '{"Samples": [{"t": 0, "ax": 1}], "New": "' || repeat('x', 9000000) || '"}'),
    ('depth', repeat('[', 63) || '{"t": 0, "ax": 1}' || repeat(', 2]', 63))
) AS d (what, document), pg_temp.samples_of(d.document) AS o
ORDER BY d.what;

-- ---------------------------------------------------------------------
-- Nothing is lost: every scalar of every document is in a row
-- ---------------------------------------------------------------------

CREATE FUNCTION pg_temp.leaves(document jsonb) RETURNS TABLE (path text[], leaf jsonb) LANGUAGE sql AS $$
    WITH RECURSIVE node (path, value) AS (
        SELECT ARRAY[]::text[], document
        UNION ALL
        SELECT n.path || m.name, m.value
        FROM node AS n CROSS JOIN LATERAL (
            SELECT o.key, o.value FROM jsonb_each(CASE WHEN jsonb_typeof(n.value) = 'object' THEN n.value ELSE '{}' END) AS o
            UNION ALL
            SELECT (a.i - 1)::text, a.value
            FROM jsonb_array_elements(CASE WHEN jsonb_typeof(n.value) = 'array' THEN n.value ELSE '[]' END) WITH ORDINALITY AS a (value, i)
        ) AS m (name, value)
    )
    SELECT path, value FROM node WHERE jsonb_typeof(value) NOT IN ('object', 'array', 'null')
$$;
-- What a leaf and a stored value have in common, however each is written
CREATE FUNCTION pg_temp.spellings(leaf jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    plain text := leaf #>> '{}';
BEGIN
    IF jsonb_typeof(leaf) = 'number' THEN
        RETURN NEXT 'number ' || trim_scale(plain::numeric);
        IF plain::numeric > 1e9 THEN
            RETURN NEXT 'time ' || to_timestamp(plain::float8 / CASE WHEN plain::numeric > 1e11 THEN 1000 ELSE 1 END);
        END IF;
    ELSIF jsonb_typeof(leaf) = 'boolean' THEN
        RETURN NEXT 'boolean ' || plain;
        RETURN NEXT 'number ' || plain::boolean::integer;
    ELSIF plain ~ '^\d{4}-\d\d-\d\dT' THEN
        RETURN NEXT 'time ' || plain::timestamptz;
        RETURN NEXT 'text ' || plain;
    ELSE
        RETURN NEXT 'text ' || CASE WHEN plain ~* '^[0-9a-f-]{36}$' THEN lower(plain) ELSE plain END;
    END IF;
END
$$;
-- The row that a leaf of a document belongs to, without keys of our own
CREATE FUNCTION pg_temp.row_for(kind text, path text[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT (CASE
        WHEN kind = 'processed' AND p.list = 'Points' THEN (SELECT to_jsonb(r) FROM damoov.trip_points AS r WHERE r.seq = p.seq)
        WHEN kind = 'processed' THEN (SELECT to_jsonb(r) FROM damoov.trips AS r)
        WHEN kind = 'raw' AND p.list = 'Points' THEN (SELECT to_jsonb(r) FROM damoov.raw_points AS r WHERE r.seq = p.seq)
        WHEN kind = 'raw' AND p.list = 'Events' THEN (SELECT to_jsonb(r) FROM damoov.raw_events AS r WHERE r.seq = p.seq)
        WHEN kind = 'raw' THEN (SELECT to_jsonb(r) FROM damoov.raw_tracks AS r)
        WHEN kind = 'crash' THEN (SELECT to_jsonb(r) FROM damoov.crashes AS r)
        WHEN p.list = 'Samples' THEN (SELECT to_jsonb(r) FROM damoov.crash_samples AS r WHERE r.seq = p.seq)
        ELSE (SELECT to_jsonb(r) || jsonb_build_object('crash_token', c.crash_token)
            FROM damoov.crash_buffers AS r JOIN damoov.crashes AS c USING (crash_id))
    END) - '{trip_id,raw_track_id,crash_id,user_id}'::text[]
    FROM (SELECT min(path[i]) AS list, min(path[i + 1])::integer AS seq
        FROM generate_subscripts(path, 1) AS i WHERE path[i] IN ('Points', 'Events', 'Samples')) AS p
$$;
CREATE FUNCTION pg_temp.unaccounted(kind text, document jsonb) RETURNS TABLE (path text, leaf jsonb) LANGUAGE sql AS $$
    SELECT array_to_string(l.path, '.'), l.leaf
    FROM pg_temp.leaves(document) AS l
    WHERE NOT EXISTS (
        SELECT pg_temp.spellings(l.leaf)
        INTERSECT
        SELECT pg_temp.spellings(s.leaf) FROM pg_temp.leaves(pg_temp.row_for(kind, l.path)) AS s)
$$;
CREATE FUNCTION pg_temp.lost(name text, document jsonb DEFAULT NULL) RETURNS TABLE (path text, leaf jsonb) LANGUAGE plpgsql AS $$
DECLARE
    kind text := s.kind FROM pg_temp.sample AS s WHERE s.name = lost.name;
BEGIN
    PERFORM pg_temp.store(name);
    RETURN QUERY SELECT u.* FROM pg_temp.unaccounted(kind, coalesce(document, (SELECT s.document FROM pg_temp.sample AS s WHERE s.name = lost.name))) AS u;
END
$$;
-- what stands for "no value", the credential, the answer's own verdict, code and message, and, checked above, the path in S3
SELECT l.name, l.path, l.leaf, count(*)
FROM (SELECT s.name, regexp_replace(l.path, '\d+', '#') AS path, l.leaf FROM sample AS s, pg_temp.lost(s.name) AS l) AS l
GROUP BY l.name, l.path, l.leaf ORDER BY l.name, l.path COLLATE "C", l.leaf;
SELECT s.name, count(*) AS leaves FROM sample AS s, pg_temp.leaves(s.document) GROUP BY 1 ORDER BY 1;
-- the check can fail, for a value of the whole and of a part
SELECT l.path, l.leaf
FROM sample AS s, pg_temp.lost(s.name, jsonb_set(jsonb_set(s.document, '{Result,Track,Distance}', '8.413'), '{Result,Track,Points,3,AlertValue}', '2.91847705841')) AS l
WHERE s.name = 'processed 1' AND l.leaf NOT IN ('0', '""', '999', '200') ORDER BY 1;

-- Members that no version knows are kept where they were
SELECT damoov.store_dataset('processed', :track, jsonb_set(jsonb_set(jsonb_set(document, '{Result,Track,Points,0,Tilt}', '0.25'),
    '{Result,Track,Fuel}', '{"Type": "diesel", "Used": [0.7, null]}'), '{Region}', '"eu"')::text) IS NOT NULL AS stored
FROM sample WHERE name = 'processed 2';
SELECT t.extra, p.extra AS point_extra FROM damoov.trips AS t JOIN damoov.trip_points AS p USING (trip_id) WHERE p.seq = 0;
-- A wrong value costs only itself
SELECT damoov.store_dataset('processed', :track, jsonb_set(jsonb_set(jsonb_set(jsonb_set(document, '{Result,Track,Rating}', '7'), '{Result,Track,Rating100}', '-1'),
    '{Result,Track,Distance}', '"8.412"'), '{Result,Track,Points,1,Latitude}', '151.9')::text) IS NOT NULL AS stored
FROM sample WHERE name = 'processed 2';
SELECT t.rating, t.score, t.distance_km, t.notes, p.latitude, p.longitude, p.speed_kmh FROM damoov.trips AS t JOIN damoov.trip_points AS p USING (trip_id) WHERE p.seq = 1;
-- Of a value that comes twice the last one counts, for the events, too
SELECT damoov.store_dataset('processed', :track, replace(document::text, '"AlertType": "acc"', '"AlertType": "acc", "AlertType": ""')) IS NOT NULL AS stored
FROM sample WHERE name = 'processed 2';
SELECT e.kind, e.first_seq, p.alert_type FROM damoov.trip_events AS e JOIN damoov.trip_points AS p ON p.trip_id = e.trip_id AND p.seq = e.first_seq
WHERE e.kind IN ('acceleration', 'braking') ORDER BY e.seq;

-- ---------------------------------------------------------------------
-- What is no such dataset is refused, and what is there stays
-- ---------------------------------------------------------------------

SELECT count(pg_temp.store(name)) FROM sample WHERE name IN ('processed 1', 'raw 1', 'crash', 'crash_buffer');
CREATE FUNCTION pg_temp.state() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relation text;
    rows text;
    result text := '';
BEGIN
    FOR relation IN SELECT c.oid::regclass FROM pg_class AS c WHERE c.relnamespace = 'damoov'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname COLLATE "C" LOOP
        EXECUTE format('SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM %s AS t', relation) INTO rows;
        result := result || coalesce(rows, '-');
    END LOOP;
    RETURN result;
END
$$;
CREATE FUNCTION pg_temp.refusal(kind text, object uuid, document text, OUT state text, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM damoov.store_dataset(kind, object, document);
    state := 'stored';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
END
$$;
CREATE TEMP TABLE before AS SELECT pg_temp.state() AS state;
CREATE TEMP TABLE answer (n integer, what text, document text);
INSERT INTO answer VALUES
    (1, 'nothing', ''),
    (2, 'HTML', '<!DOCTYPE html><html><body>502 Bad Gateway</body></html>'),
    (3, 'cut off', '{"Result": {"Track": {"Distance": 8.4'),
    (4, 'text after the value', '{"Result": {"Track": {}, "Code": 200}} x'),
    (5, 'no UTF-8 escape', '{"Result": {"Track": {"Status": "\ud800"}, "Code": 200}}'),
    (6, 'validation error', '{"Status": 422, "Title": "One or more validation errors occurred.", "Errors": [{"Key": "Identifiers.UserId", "Message": "The value is not valid."}]}'),
    (7, 'code', '{"Result": {"Track": {"Distance": 1}, "Code": 404}}'),
    (8, 'format 2, gone', '{"success": false, "status_code": 404, "message": "Trip not found", "result": null, "error": {"code": "NotFound", "details": "No trip is stored under this token"}}'),
    (9, 'format 2, error', '{"success": false, "status_code": 500, "message": "x", "result": null}'),
    (10, 'no success', '{"success": false, "status_code": 200, "result": {"TripData": {"Points": []}}}'),
    (11, 'number', '5'), (12, 'null', 'null'), (13, 'empty object', '{}');
SELECT k.kind, a.what, r.*
FROM (VALUES ('processed', :track::uuid), ('raw', :track), ('crash', :crash), ('crash_buffer', :crash)) AS k (kind, object), answer AS a, pg_temp.refusal(k.kind, k.object, a.document) AS r
-- whatever is JSON is a buffer: its form is not published
WHERE k.kind <> 'crash_buffer' OR a.n <= 5
ORDER BY k.kind, a.n;
-- memory: what is small as a text may be large when it is read
SELECT t.what, k.kind, r.*
FROM (VALUES
    ('values', 20000000, '{"New": [' || repeat('0,', 19999997) || '0]}'), ('values', 20000001, '{"New": [' || repeat('0,', 19999998) || '0]}')
) AS t (what, n, document), (VALUES ('processed', :track::uuid)) AS k (kind, object), pg_temp.refusal(k.kind, k.object, t.document) AS r ORDER BY t.n;
SELECT t.what, k.kind, t.n, r.*
FROM (VALUES ('Points', 1000000), ('Points', 1000001)) AS t (what, n), LATERAL (VALUES
    ('processed', :track::uuid, '{"Result": {"Code": 404, "Track": {"Points": ['), ('raw', :track, '{"success": false, "status_code": 500, "result": {"TripData": {"Points": [')
) AS k (kind, object, start), pg_temp.refusal(k.kind, k.object, k.start || repeat('{},', t.n - 1) || '{}]}}}') AS r ORDER BY t.n, k.kind;
SELECT r.* FROM pg_temp.refusal('raw', :track, '{"Track": {"Points": [{}' || repeat(',{}', 799999) || '], "Events": [{}' || repeat(',{}', 200000) || ']}}') AS r;
-- a dataset of another kind, or of another object
SELECT k.kind, s.name, r.*
FROM (VALUES ('processed', :track::uuid), ('raw', :track), ('crash', :crash)) AS k (kind, object), sample AS s, pg_temp.refusal(k.kind, k.object, s.document::text) AS r
WHERE s.kind <> k.kind ORDER BY k.kind, s.name;
SELECT m.name, r.*
FROM (VALUES
    ('processed 1', '{Result,Track,TrackToken}'::text[]), ('raw 1', '{Track,TrackToken}'), ('raw 2', '{result,TrackToken}'), ('raw 2', '{result,TripData,TrackToken}'), ('crash', '{Id}')
) AS m (name, path)
JOIN sample AS s USING (name), pg_temp.refusal(s.kind, CASE s.kind WHEN 'crash' THEN :crash ELSE :track END::uuid,
    jsonb_set(s.document, m.path, '"00000000-0000-4000-8000-000000000001"')::text) AS r
ORDER BY m.name, m.path;
SELECT r.* FROM pg_temp.refusal('nothing', :track, '{}') AS r;
SELECT r.* FROM pg_temp.refusal('processed', '00000000-0000-4000-8000-000000000001', (SELECT document::text FROM sample WHERE name = 'processed 1')) AS r;
SELECT b.state = pg_temp.state() AS untouched FROM before AS b;

SELECT pg_temp.empty_tables();
-- a dataset of which nothing is known has no person
SELECT r.* FROM pg_temp.refusal('crash', :crash, (SELECT document::text FROM sample WHERE name = 'crash')) AS r;

SELECT pg_temp.empty_tables();

-- ---------------------------------------------------------------------
-- Notifications as the platform sends them: as they came, and every scalar in
-- a column, but for those listed
-- ---------------------------------------------------------------------

SELECT pg_temp.empty_tables();
CREATE TEMP TABLE notification (n integer, name text, note jsonb);
INSERT INTO notification VALUES
    (1, 'incoming track received', '{"Event": "IncomingTrackReceived", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Object": {"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "IncomingTrack", "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/incoming/incoming/tracks/received/c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d/v1/"}, "Timestamp": "2024-05-14T15:59:31.4820193Z", "Details": {"TrackStartDate": "2024-05-14T17:42:10.0000000+02:00", "TrackFinishDate": "2024-05-14T17:57:58.0000000+02:00"}}'),
    (2, 'track enrichment finished', '{"Event": "TrackEnrichmentFinished", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Object": {"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "RichTrack", "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}, "Timestamp": "2024-05-14T16:01:18.7719046Z", "Details": {"ObjectReplaced": false, "TracksRemoved": []}}'),
    (3, 'track enrichment finished merged', '{"Event": "TrackEnrichmentFinished", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Object": {"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "Type": "RichTrack", "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}, "Timestamp": "2024-05-14T17:20:44.0920017Z", "Details": {"ObjectReplaced": true, "TracksRemoved": [{"Id": "0d9e8f7a-1b2c-4d3e-8f40-5a6b7c8d9e0f", "Type": "RichTrack"}, {"Id": "1e2d3c4b-5a69-4788-9796-a5b4c3d2e1f0", "Type": "RichTrack"}]}}'),
    (4, 'incoming track removed', '{"Event": "IncomingTrackRemoved", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Object": {"Id": "a1f2e3d4-c5b6-4a79-8897-a6b5c4d3e2f1", "Type": "IncomingTrackSummary", "Url": "https://mobilesdk.telematicssdk.com/mobilesdk/incoming/incoming/tracks/removed/a1f2e3d4-c5b6-4a79-8897-a6b5c4d3e2f1/v1/"}, "Timestamp": "2024-05-14T16:12:07.0035518Z", "Details": {"TrackStartDate": "2024-05-14T17:59:12.0000000+02:00", "TrackFinishDate": "2024-05-14T18:03:40.0000000+02:00", "Reason": "Insufficient Track length"}}'),
    (5, 'accident event received', '{"Event": "AccidentEventReceived", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2024-05-14T15:51:03.6610938Z", "Details": {"DateReceived": "2024-05-14T15:51:02.1180423Z"}}'),
    (6, 'accident event extra received', '{"Event": "AccidentEventExtraReceived", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "AccidentExtra", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/extras/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2024-05-14T15:51:21.0019883Z", "Details": {"DateReceived": "2024-05-14T15:51:20.5551200Z"}}'),
    (7, 'accident event complete package received', '{"Event": "AccidentEventCompletePackageReceived", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2024-05-14T15:51:22.4410071Z", "Details": {"PackageDateReceived": "2024-05-14T15:51:20.5551200Z", "AccidentPassedFilters": true}}'),
    (8, 'accident event filtered', '{"Event": "AccidentEventFiltered", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2024-05-14T15:51:22.9981734Z", "Details": {"DateFiltered": "2024-05-14T15:51:22.3000415Z"}}'),
    (9, 'heartbeat received', '{"Event": "HeartbeatReceived", "Sender": "Damoov", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Timestamp": "2024-05-14T14:05:02.1180557Z", "Object": {"Id": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Type": "RawHeartbeat", "Uri": null}, "Details": {"ChargeLevel": 63.5, "WifiEnabled": false, "GPSEnabled": true, "RealTimeLocationEnabled": false, "MobileDataEnabled": true, "NotUploadedTripsCount": 2, "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b", "TimeReceived": "2024-05-14T14:04:58.3340216Z"}}'),
    (10, 'legacy data buffer received', '{"Event": "DataBufferReceived", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "AccidentExtra", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/extras/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2021-03-02T09:14:21.0019883Z", "Details": {"DateReceived": "2021-03-02T09:14:20.5103368Z"}}'),
    (11, 'legacy crash data set completed', '{"Event": "CrashDataSetCompleted", "Sender": "Data Motion", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417", "Object": {"Id": "f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47", "Type": "Accident", "Url": "https://api.telematicssdk.com/api/drivingevents/get/v1/Accidents/received/f3b1d6a2-9c40-4e85-b7d3-2a6c8e0f1b47"}, "Timestamp": "2021-03-02T09:14:22.4410071Z", "Details": {"PackageDateReceived": "2021-03-02T09:14:20.5103368Z", "AccidentPassedFilters": false}}');
SELECT n.name, i.event, i.outcome FROM notification AS n, damoov_ingest(n.note) AS i ORDER BY n.n;
SELECT n.name, count(e.event_id) AS as_it_came, min(e.notes) AS notes
FROM notification AS n LEFT JOIN damoov.events AS e ON e.payload = n.note GROUP BY n.n, n.name ORDER BY n.n;
CREATE FUNCTION pg_temp.rows_of(note jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$
    WITH e AS (SELECT * FROM damoov.events WHERE payload = note)
    SELECT to_jsonb(e) - '{payload,event_id,user_id}'::text[] FROM e
    UNION ALL SELECT to_jsonb(u) - 'user_id' FROM damoov.users AS u JOIN e USING (user_id)
    UNION ALL SELECT to_jsonb(h) - 'user_id' FROM damoov.heartbeats AS h JOIN e ON h.user_id = e.user_id AND h.reported_at = e.sent_at
    UNION ALL SELECT to_jsonb(c) - '{crash_id,user_id}'::text[] FROM damoov.crashes AS c JOIN e ON c.crash_token = e.object_id
    UNION ALL SELECT to_jsonb(r) - '{event_id,user_id}'::text[] FROM damoov.removed_tracks AS r JOIN e USING (event_id)
    UNION ALL SELECT to_jsonb(d) - '{user_id,version,priority,attempts}'::text[] FROM damoov.downloads AS d JOIN e USING (object_id)
$$;
CREATE FUNCTION pg_temp.not_in_columns(note jsonb) RETURNS TABLE (path text, leaf jsonb) LANGUAGE sql AS $$
    SELECT array_to_string(l.path, '.'), l.leaf
    FROM pg_temp.leaves(note) AS l
    WHERE NOT EXISTS (
        SELECT pg_temp.spellings(l.leaf)
        INTERSECT
        SELECT pg_temp.spellings(s.leaf) FROM pg_temp.rows_of(note) AS r, pg_temp.leaves(r) AS s)
$$;
-- who sent it, whether it is a merge, which the removed tracks tell; older names; addresses and times of datasets that are not fetched;
-- of a stage announced twice all but the earliest time and the newest verdict
SELECT n.name, l.path, l.leaf FROM notification AS n, pg_temp.not_in_columns(n.note) AS l ORDER BY n.n, l.path COLLATE "C";
SELECT n.name, count(*) AS leaves FROM notification AS n, pg_temp.leaves(n.note) GROUP BY n.n, n.name ORDER BY n.n;
-- the check can fail
UPDATE damoov.heartbeats SET charge_percent = charge_percent + 1, waiting_trips = NULL;
SELECT l.path, l.leaf FROM notification AS n, pg_temp.not_in_columns(n.note) AS l WHERE n.name = 'heartbeat received' ORDER BY l.path COLLATE "C";
SELECT event, path, count FROM damoov.drift WHERE table_name = 'events';
CREATE TEMP TABLE envelope (n integer, name text, body jsonb);
INSERT INTO envelope VALUES
    (1, 'sns notification', $${"Type": "Notification", "MessageId": "9b1e2f30-4a5b-5c6d-8e7f-001122334455", "TopicArn": "arn:aws:sns:eu-central-1:000000000000:damoov-events", "Message": "{\"Event\": \"TrackEnrichmentFinished\", \"Sender\": \"Data Motion\", \"UserId\": \"5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5\", \"Object\": {\"Id\": \"c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d\", \"Type\": \"RichTrack\", \"Url\": \"https://mobilesdk.telematicssdk.com/mobilesdk/stage/track/get_track/v1?trackToken=c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d\"}, \"Timestamp\": \"2024-05-14T16:01:18.7719046Z\", \"Details\": {\"ObjectReplaced\": false, \"TracksRemoved\": []}}", "Timestamp": "2024-05-14T16:01:19.120Z", "SignatureVersion": "1", "Signature": "RXhhbXBsZSBvbmx5LCBub3QgYSB2YWxpZCBzaWduYXR1cmU=", "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-example.pem", "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:eu-central-1:000000000000:damoov-events:11112222-3333-4444-5555-666677778888"}$$),
    (2, 'sns subscription confirmation', $${"Type": "SubscriptionConfirmation", "MessageId": "1f2e3d4c-5b6a-5978-8877-665544332211", "Token": "0123456789abcdefexampletoken", "TopicArn": "arn:aws:sns:eu-central-1:000000000000:damoov-events", "Message": "Example text: open SubscribeURL to confirm the subscription to arn:aws:sns:eu-central-1:000000000000:damoov-events.", "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-central-1:000000000000:damoov-events&Token=0123456789abcdefexampletoken", "Timestamp": "2024-05-14T08:00:00.000Z", "SignatureVersion": "1", "Signature": "RXhhbXBsZSBvbmx5LCBub3QgYSB2YWxpZCBzaWduYXR1cmU=", "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-example.pem"}$$);
SELECT v.name, i.event, i.outcome FROM envelope AS v, damoov_ingest(v.body) AS i ORDER BY v.n;

-- Answers of other services are no datasets, whatever they are asked for
CREATE TEMP TABLE stranger (n integer, name text, body jsonb);
INSERT INTO stranger VALUES
    (1, 'device status', $${"Result": [{"UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "Heartbeat Date": "2024-05-14T14:04:58.3340216", "WiFi Enabled": false, "GPS Enabled": true, "Mobile Data Enabled": true, "Latitude": 51.9600131, "Longitude": 7.6261352, "Extended Data": {"Application": "v1.0.0 (org.example.app)", "Device Has Been Rooted (Android)": "0", "Device Model": "Example Phone 9", "Device OS Version": "iOS 17.4.1", "GPS Permission Granted": "Always", "JailBreak (iOS)": "0", "Low Power Mode": "false", "Low Precise Location (iOS)": "false", "Motion & Fitness Permission Granted (iOS)": "YES", "Motion Activity Permission Granted (Android)": "false", "SDK Version": "example-sdk v6.0.0"}}], "Status": 200, "Title": "", "Errors": []}$$),
    (2, 'heartbeat phone upload', $${"ChargeLevel": 63.0, "CreatedDate": "2024-05-14T16:04:57+0200", "GPSEnabled": true, "RealTimeLocationEnabled": false, "MobileDataEnabled": true, "NotLoadTripsCount": 2, "Params": [{"Key": "Device Model", "Value": "Example Phone 9"}, {"Key": "Sdk Version", "Value": "0.0.0(1)"}, {"Key": "Battery Charge State", "Value": "Unplugged"}, {"Key": "Low Power Mode", "Value": "false"}, {"Key": "User Enabled Tracking", "Value": "true"}, {"Key": "Last Known Latitude", "Value": "51.9600131"}, {"Key": "Last Known Longitude", "Value": "7.6261352"}, {"Key": "Reason", "Value": "Regular"}], "WifiEnabled": false}$$),
    (3, 'trips list admin', $${"Result": {"Trips": [{"Id": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "DateUpdated": "2024-05-14T17:20:44+00:00", "Identifiers": {"CompanyId": "2f3e4d5c-6b7a-4899-8a0b-1c2d3e4f5061", "ApplicationId": "3a4b5c6d-7e8f-4091-a2b3-c4d5e6f70819", "InstanceId": "7e1f2a3b-4c5d-4e6f-9a0b-1c2d3e4f5a6b", "UserId": "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5", "ClientId": "customer-000417"}, "Data": {"StartDate": "2024-05-14T17:42:10+02:00", "EndDate": "2024-05-14T17:57:58+02:00", "UnitSystem": "Si", "Addresses": {"Start": {"Full": "Example Street 1, Exampletown, Exampleland", "Parts": {"CountryCode": "EX", "Country": "Exampleland", "County": "Example County", "City": "Exampletown", "District": "Centre", "Street": "Example Street", "House": "1", "Latitude": 51.96021, "Longitude": 7.62671}}, "End": {"Full": "Sample Road 22, Exampletown, Exampleland", "Parts": {"CountryCode": "EX", "Country": "Exampleland", "County": "Example County", "City": "Exampletown", "District": "Centre", "Street": "Sample Road", "House": "22", "Latitude": 51.96066, "Longitude": 7.63269}}}, "TransportType": {"Current": "OriginalDriver", "ConfirmNeeded": false, "IsChanged": false}, "Tags": ["Business"], "IncomingTrackToken": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d"}, "Statistics": {"Mileage": 8.412, "DurationMinutes": 15.8, "AccelerationsCount": 1, "BrakingsCount": 1, "CorneringsCount": 1, "TotalSpeedingMileage": 0.295, "MidSpeedingMileage": 0.152, "HighSpeedingMileage": 0.143, "PhoneUsageDurationMinutes": 0.45, "PhoneUsageMileage": 0.31, "PhoneUsageWithSpeedingDurationMinutes": 0, "PhoneUsageWithSpeedingMileage": 0, "DayHours": 0.0, "RushHours": 15.8, "NightHours": 0, "AverageSpeed": 31.944303797468354, "MaxSpeed": 76.21200561523438}, "Scores": {"Safety": 64, "Acceleration": 45, "Braking": 45, "Cornering": 85, "Speeding": 61, "PhoneUsage": 88, "Eco": 88, "EcoBrakes": 91, "EcoDepreciation": 90, "EcoFuel": 83, "EcoTyres": 94}}], "PagingInfo": {"HasPreviousPage": false, "HasNextPage": false, "TotalItems": 1, "TotalPages": 1, "CurrentPage": 1}}, "Status": 200, "Title": "", "Errors": []}$$),
    (4, 'processed track list', $${"Result": {"Tracks": [{"TrackToken": "c4a8f0d2-6b13-4e57-9d28-3f5e7a9b1c0d", "StartDate": "2024-05-14T17:42:10+02:00", "EndDate": "2024-05-14T17:57:58+02:00", "Status": "Active", "Distance": 8.412, "Duration": 15.8, "AccelerationCount": 1, "DecelerationCount": 1, "AddressStart": "Example Street 1, Exampletown, Example County, Exampleland", "AddressEnd": "Sample Road 22, Exampletown, Example County, Exampleland", "AddressStartParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Example Street", "House": "1", "PostalCode": "00001"}, "AddressFinishParts": {"CountryCode": "EX", "City": "Exampletown", "District": "Example County", "Street": "Sample Road", "House": "22", "PostalCode": "00002"}, "CityStart": "Exampletown", "CityFinish": "Exampletown", "Rating": 3.0, "RatingCornering": 4, "RatingAcceleration": 2, "RatingBraking": 2, "RatingSpeeding": 3, "RatingPhoneUsage": 4, "RatingTimeOfDay": 5, "Rating100": 64, "RatingCornering100": 85, "RatingAcceleration100": 45, "RatingBraking100": 45, "RatingSpeeding100": 61, "RatingPhoneDistraction100": 88, "PhoneUsage": 0.45, "MidOverSpeedMileage": 0.152, "HighOverSpeedMileage": 0.143, "EcoScore": 88, "EcoScoreFuel": 83, "EcoScoreTyres": 94, "EcoScoreBrakes": 91, "EcoScoreDepreciation": 90, "TrackOriginCode": "OriginalDriver", "OriginChanged": false, "ShareType": "NotShared", "DrivingTips": "Safety score 64. Points were lost here:\r\n- strong acceleration, 2.92 m/s2, 17:42:23\r\n- strong braking, -3.41 m/s2, 17:42:45", "BeaconId": 0}], "Code": 200}}$$);
SELECT s.name, k.kind, r.*
FROM stranger AS s
CROSS JOIN (VALUES ('processed', :track::uuid), ('raw', :track), ('crash', :crash)) AS k (kind, object)
CROSS JOIN LATERAL pg_temp.refusal(k.kind, k.object, s.body::text) AS r
ORDER BY s.n, k.kind;
-- nor are they notifications
CREATE FUNCTION pg_temp.not_ingested(body jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(i.outcome, ', ') FROM public.damoov_ingest(body) AS i);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT s.name, pg_temp.not_ingested(s.body) FROM stranger AS s ORDER BY s.n;
SELECT pg_temp.empty_tables();
